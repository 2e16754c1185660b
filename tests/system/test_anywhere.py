"""The same system in a directory of any name, under any locale and in any time zone."""

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from tests.support.names import EVERY_TRAP
from tests.support.system import Listener, System, of_slot, running_system
from tests.support.waiting import poll
from tests.system.conftest import NOT_COPIED

pytestmark = pytest.mark.system

ELSEWHERE = {"LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONIOENCODING": "ascii"}
TIMES = (
    "SELECT now(), timezone(), toDateTime('2026-11-30 06:00:00'), toUnixTimestamp(toDateTime('2026-11-30 06:00:00'))"
)


def sql(system: System, statement: str) -> list[str]:
    """The one row of an answer."""
    done = system.command("sql", statement, "--format", "TSV", **ELSEWHERE)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n").split("\t")


def liked(system: System, user_id: str) -> bool:
    return sql(system, f"SELECT count() FROM feedback_clean WHERE kind = 'liked' AND user_id = '{user_id}'") == ["1"]


def test_it_keeps_all_in_its_directory_and_answers_in_utc(first_start: tuple[Path, str], tmp_path: Path) -> None:
    data_dir = tmp_path / EVERY_TRAP
    shutil.copytree(first_start[0], data_dir, ignore=shutil.ignore_patterns(*NOT_COPIED))
    with running_system(data_dir, **ELSEWHERE) as system:
        now, *rest = sql(system, TIMES)
        assert rest == ["UTC", "2026-11-30 06:00:00", "1796018400"]
        assert abs(datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp() - time.time()) < 60
        guest = Listener(system.url)
        [slot, *_] = guest.playlist()["slots"]
        guest.send(of_slot("liked", slot))
        poll(lambda: liked(system, guest.user_id), timeout=30, what="the like is in ClickHouse")
        for part in ("kafka", "valkey", "warehouse", "gateway"):
            assert psutil.Process(system.part(part)["pid"]).environ()["TZ"] == "UTC"
        assert system.stop() == 0

        system.start()
        assert liked(system, guest.user_id)
        again = Listener(system.url)
        again.http.headers["authorization"] = f"Bearer {guest.token}"
        assert slot["song_id"] in str(again.profile())
    assert {path.name for path in tmp_path.iterdir()} == {EVERY_TRAP, f"{EVERY_TRAP}.output"}
