"""What happens at night, to a whole system: a store is wiped, vectors are lost, the disk is full. Nobody helps it.

Each test ends when the system is healthy again, prints how long that took, and looks for what happened where an
operator would: in the logs, in the metrics, in `animusic status`.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.topics import FEEDBACK
from services.common.kafka import read_to_end
from tests.support.following import at_end, folded, profiles_in
from tests.support.small_disk import small_disk
from tests.support.system import Listener, System, event, of_slot, running_system
from tests.support.waiting import poll
from tests.system.conftest import NOT_COPIED, Another

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

HEALTHY_SECONDS = 60.0
DISK_MB = 320


@pytest.fixture(scope="module")
def robust(another: Another) -> Iterator[System]:
    """A system with two profiles processes, as `animusic run --scale profiles=2` starts it."""
    with another(ANIMUSIC_PROFILES__PROCESSES="2") as running:
        yield running


def healthy(what: str, condition: Callable[[], object], began: float) -> None:
    """Wait until it is well again, and print how long that took."""
    poll(condition, timeout=HEALTHY_SECONDS, interval=0.2, what=f"healthy after {what}")
    print(f"{what}: healthy again after {time.monotonic() - began:.1f} s", flush=True)


def metric(system: System, part: str, name: str) -> float:
    """The sum of a metric's series of one part."""
    text = httpx.get(f"{system.part(part)['address']}/metrics", timeout=5).text
    return sum(float(n) for n in re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+]+)$", text, re.MULTILINE))


def said(system: System, part: str) -> str:
    """A part's log."""
    return (system.data_dir / "logs" / f"{part}.log").read_text(encoding="utf-8", errors="replace")


def status(system: System) -> tuple[int, dict[str, Any]]:
    """`animusic status --json`: its exit code and what it printed."""
    done = system.command("status", "--json")
    return done.returncode, dict(json.loads(done.stdout))


def count(system: System, table: str) -> int:
    """Rows of a view of the warehouse; -1 while it does not answer."""
    sql = f"SELECT count() AS n FROM {table} FORMAT JSONEachRow"
    try:
        answer = httpx.post(system.settings().clickhouse.dsn, content=sql, timeout=30)
    except httpx.TransportError:
        return -1
    return int(json.loads(answer.text)["n"]) if answer.is_success else -1


async def _events(system: System) -> list[FeedbackEvent]:
    batches = [batch async for batch in read_to_end(system.settings().kafka, FEEDBACK.name)]
    return [FeedbackEvent.model_validate_json(record.value) for batch in batches for record in batch]


async def _parity(system: System) -> None:
    settings = system.settings()
    async with Redis.from_url(settings.redis.url) as redis:
        await at_end(settings.kafka, redis)
        assert await profiles_in(redis) == folded(await _events(system))


async def _flush(system: System) -> None:
    async with Redis.from_url(system.settings().redis.url) as redis:
        await redis.flushall()


def test_two_profiles_processes_share_the_partitions(robust: System) -> None:
    followed = [metric(robust, f"profiles-{n}", "animusic_consumer_partitions") for n in (1, 2)]
    assert all(followed)
    assert sum(followed) == 3 * robust.settings().kafka.partitions


def test_a_wiped_redis_is_rebuilt_and_playlists_come_and_say_so_meanwhile(robust: System) -> None:
    listener = Listener(robust.url)
    slots = listener.playlist()["slots"]
    receipt = listener.send(*(of_slot("liked", slot) for slot in slots[:3]))
    assert listener.playlist(receipt)["cold"] is None
    asyncio.run(_flush(robust))
    began = time.monotonic()
    answers: list[dict[str, Any]] = []

    def personal() -> bool:
        answers.append(listener.playlist())
        return bool(answers[-1]["fresh"] and answers[-1]["cold"] is None)

    healthy("a wiped Redis", personal, began)
    assert all(len(answer["slots"]) == len(slots) for answer in answers)
    assert [a for a in answers if a["cold"] == "mean" and a["stale"] is None] == [], "told to be new"
    assert answers[0]["stale"] == "behind"
    asyncio.run(_parity(robust))
    logs = said(robust, "profiles-1") + said(robust, "profiles-2")
    assert "the store is behind in" in logs
    assert sum(metric(robust, f"profiles-{n}", "animusic_consumer_refusals_total") for n in (1, 2)) > 0
    assert metric(robust, "recommender", "animusic_recommender_stale_total") > 0


def test_a_wiped_clickhouse_is_filled_again(robust: System) -> None:
    listener = Listener(robust.url)
    listener.send(*(of_slot("started", slot) for slot in listener.playlist()["slots"]))
    expected = len({str(each.event_id) for each in asyncio.run(_events(robust))})
    poll(lambda: count(robust, "feedback_clean") == expected, timeout=30, what="the warehouse has come to the end")
    pid = int(robust.part("warehouse")["pid"])
    os.kill(pid, signal.SIGSTOP)
    shutil.rmtree(robust.data_dir / "clickhouse")
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    healthy("a wiped ClickHouse", lambda: count(robust, "feedback_clean") == expected, began)
    assert robust.part("warehouse")["restarts"] == 1
    assert "warehouse was killed" in robust.printed()
    poll(lambda: status(robust)[0] < 2, timeout=30, interval=0.5, what="status is not broken")


def test_lost_vectors_are_built_again_and_the_arm_is_left_out_meanwhile(robust: System) -> None:
    (directory,) = (robust.data_dir / "vectors").glob("tfidf-*")
    listener = Listener(robust.url)
    assert "tfidf" not in listener.playlist()["left_out"]
    shutil.rmtree(directory)
    pid = robust.kill_part("recommender")
    began = time.monotonic()
    poll(lambda: robust.part("recommender")["pid"] not in (pid, None) and robust.ready("recommender"), timeout=40)
    first = listener.playlist()
    assert len(first["slots"]) >= 1
    healthy("lost vectors", lambda: "tfidf" not in listener.playlist()["left_out"], began)
    assert "vectors are gone" in said(robust, "watch")
    poll(lambda: status(robust)[0] < 2, timeout=30, interval=0.5, what="status is not broken")


class Patient:
    """A listener that keeps what was acknowledged and what was not."""

    def __init__(self, url: str) -> None:
        self.listener = Listener(url, timeout=15)
        self.kept: set[str] = set()
        self.refused: list[dict[str, Any]] = []

    def post(self) -> httpx.Response:
        """One like; a 503 is noted, to be sent again."""
        like = event("liked", song_id="song-of-a-full-disk")
        answer = self.listener.http.post("/v1/events", json={"events": [like] * 1})
        if answer.status_code == 202:
            self.kept.add(like["event_id"])
        else:
            assert (answer.status_code, answer.json()["error"]) == (503, "log_unavailable"), answer.text
            assert int(answer.headers["retry-after"]) >= 1
            self.refused.append(like)
        return answer

    def send_again(self) -> None:
        """What was refused, with the same ids."""
        self.listener.send(*self.refused)
        self.kept |= {like["event_id"] for like in self.refused}


def test_a_full_disk_is_said_and_nothing_acknowledged_is_lost(
    first_start: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data_dir = Path(tmp_path_factory.mktemp("full")) / "data"
    with small_disk(data_dir, DISK_MB) as disk:
        shutil.copytree(first_start[0], data_dir, ignore=shutil.ignore_patterns(*NOT_COPIED), dirs_exist_ok=True)
        with running_system(data_dir, ANIMUSIC_KAFKA__REQUEST_TIMEOUT_MS="3000") as system:
            patient = Patient(system.url)
            assert patient.post().status_code == 202
            supervisor = system.pid
            disk.fill(system)
            poll(lambda: patient.post().status_code == 503, timeout=60, interval=0.05, what="a post is refused")
            poll(lambda: not system.ready(), timeout=30, what="readiness is red")
            assert patient.listener.http.post("/v1/playlists", json={}).status_code == 503
            code, found = status(system)
            assert code == 2, found
            assert any(each["name"] == "disk" for each in found["findings"]), found["findings"]
            disk.free(system)
            began = time.monotonic()
            healthy("a full disk", lambda: system.ready() and patient.post().status_code == 202, began)
            patient.send_again()
            poll(lambda: all(_is_ready(system, name) for name in system.status()["parts"]), timeout=60, interval=0.2)
            topic = {str(each.event_id) for each in asyncio.run(_events(system))}
            assert patient.kept <= topic
            asyncio.run(_parity(system))
            poll(lambda: count(system, "feedback_clean") == len(topic), timeout=60, interval=0.5, what="the warehouse")
            assert system.pid == supervisor
            assert "No space left" in said(system, "kafka") or "too large" in said(system, "kafka")
            assert system.stop() == 0


def _is_ready(system: System, name: str) -> bool:
    return bool(system.part(name)["state"] == "ready" and system.ready(name))
