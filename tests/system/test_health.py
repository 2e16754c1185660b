"""Healthy means something: this system, able to do its job, and what is advised when it is not is what helps."""

import asyncio
import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.arms import ARMS
from contracts.topics import CATALOGUE, FEEDBACK
from services.common.kafka import read_to_end
from services.common.settings import KafkaSettings
from tests.support.following import producing
from tests.support.system import Listener, System, running_system
from tests.support.waiting import poll
from tests.system.conftest import Another

pytestmark = pytest.mark.system

ONE_ANIME = "relation,song,anime,MAL_ID,vocals\n" + "".join(
    f"opening,Track {number},Single Show,778000,Singer {number}\n" for number in range(12)
)


class Impostor(BaseHTTPRequestHandler):
    """Says that all is well, whatever is asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "ready"}')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def impostor(port: int) -> Iterator[None]:
    """Another program on a port, as soon as it is free."""

    def listening() -> ThreadingHTTPServer | None:
        try:
            return ThreadingHTTPServer(("127.0.0.1", port), Impostor)
        except OSError:
            return None

    server = poll(listening, timeout=10, interval=0.001, slowest=0.001, what="the port is free")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def looked(system: System) -> dict[str, Any]:
    """What `animusic status` finds; its exit code is what it says."""
    done = system.command("status", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == found["code"]
    return found


def findings(system: System) -> dict[str, dict[str, Any]]:
    """What is not well, by name, but for what a busy machine says of itself: stores that are slow."""
    return {one["name"]: one for one in looked(system)["findings"] if one["name"] not in ("clickhouse", "disk")}


def advised(finding: dict[str, Any]) -> tuple[str, ...]:
    """The first command that a finding tells somebody to type."""
    return tuple(re.findall(r"`animusic ([^`]+)`", finding["remedy"])[0].split())


def test_another_program_on_the_gateways_port_is_named(another: Another) -> None:
    with another() as system:
        poll(system.ready, timeout=30, what="the gateway is ready")
        port = httpx.URL(system.url).port
        system.kill_part("gateway")
        with impostor(int(port or 0)):
            poll(lambda: "gateway cannot start: Port" in system.printed(), timeout=30, what="the supervisor says why")
            assert httpx.get(f"{system.url}/readyz").status_code == 200
            said = poll(lambda: findings(system).get("gateway"), timeout=30, what="status names it")
            assert "answers there" in said["detail"]
            assert "ANIMUSIC_PORT" in said["remedy"]
            assert system.part("gateway")["state"] != "ready"
            page = system.command("status")
            assert page.returncode == 2
            assert "gateway" in page.stdout and "answers there" in page.stdout
        poll(lambda: system.part("gateway")["state"] == "ready", timeout=60, what="the gateway is back by itself")


def test_a_system_of_one_anime_is_healthy_and_one_without_songs_says_what_to_do(tmp_path: Path) -> None:
    catalogue = tmp_path / "one.csv"
    catalogue.write_text(ONE_ANIME)
    asked = {
        "ANIMUSIC_LOCAL__CATALOGUE": str(catalogue),
        "ANIMUSIC_PROBE__ENABLED": "true",
        "ANIMUSIC_PROBE__EVERY_SECONDS": "1",
        "ANIMUSIC_PROBE__COUNT_EVERY_SECONDS": "1",
    }
    with running_system(tmp_path / "data", **asked) as system:
        # Right after the first start: the warehouse may not have what the start built.
        report = system.command("report", "feasibility")
        assert (report.returncode, "tfidf" in report.stdout) == (0, True), report.stderr
        poll(lambda: _rounds(system) >= 2, timeout=60, what="rounds of the synthetic listener end well")
        poll(lambda: not findings(system), timeout=60, interval=1, what="it is healthy")
        guest = Listener(system.url)
        first = guest.playlist()
        assert len(first["slots"]) == 1
        rest = guest.http.post(f"/v1/playlists/{first['playlist_id']}/rest", json={"from_slot": 1})
        assert (rest.status_code, len(rest.json()["slots"])) == (201, 1), rest.text
        _verify_and_ledger_compare_somebody(system)
        asyncio.run(_withdraw_all(system.settings().kafka))
        songs = poll(lambda: findings(system).get("songs"), timeout=60, what="status says that there are no songs")
        assert songs["state"] == "warn"
        assert guest.http.post("/v1/playlists", json={}).status_code == 503
        assert system.command(*advised(songs)).returncode == 0
        poll(lambda: not findings(system), timeout=90, interval=1, what="the advice helped")
        guest.close()


def _rounds(system: System) -> float:
    text = httpx.get(f"{system.part('probe')['address']}/metrics").text
    found = re.search(r'animusic_probe_rounds_total\{outcome="ok"\} (\S+)', text)
    return float(found.group(1)) if found else 0.0


def _verify_and_ledger_compare_somebody(system: System) -> None:
    verified = system.command("verify", timeout=180)
    assert (verified.returncode, "equal" in verified.stdout) == (0, True), verified.stdout + verified.stderr
    assert "(all of" in verified.stdout
    nobody = system.command("verify", "--user", "nobody", timeout=180)
    assert (nobody.returncode, "nothing to compare" in nobody.stdout) == (3, True)
    ledger = system.command("ledger")
    assert (ledger.returncode, "nothing is lost" in ledger.stdout) == (0, True), ledger.stdout


async def _withdraw_all(log: KafkaSettings) -> None:
    """Say of every song that it is no more, as an import of another catalogue does."""
    keys = {record.key async for batch in read_to_end(log, CATALOGUE.name) for record in batch}
    async with producing(log) as to:
        for key in keys:
            await to.send_and_wait(CATALOGUE.name, None, key=key, partition=0)


def test_each_arm_that_is_lost_is_named_with_the_command_that_brings_it_back(another: Another) -> None:
    """Four states of a machine, and in each the advice is typed: it must help there."""
    with another(ANIMUSIC_MODELS__WATCH="false") as system:
        live = looked(system)["log"]["models"]
        vectors, embeddings = system.data_dir / "vectors", system.data_dir / "embeddings"
        for arm in ("tfidf", "minilm", "mpnet"):
            shutil.rmtree(vectors / f"{arm}-{live[arm]}")
        # Of mpnet what was imported is still here; minilm's is gone, too; node2vec's files are damaged.
        for path in embeddings.glob("minilm-*"):
            path.unlink()
        (vectors / f"node2vec-{live['node2vec']}" / "songs.json").write_text("[")
        system.kill_part("recommender")
        wanted = {
            "tfidf": "models build tfidf --as-live",
            "minilm": "models import sample --arm minilm",
            "mpnet": "models build mpnet --as-live",
            "node2vec": "replay models",
        }
        lost = poll(lambda: _arms(system, len(wanted)), timeout=60, interval=0.5, what="status names four arms")
        assert {arm: " ".join(advised(finding)) for arm, finding in lost.items()} == wanted
        assert looked(system)["code"] == 2
        guest = Listener(system.url)
        assert {slot["arm"] for slot in guest.playlist()["slots"]} == {"popular", "random"}
        for arm, command in wanted.items():
            done = system.command(*advised(lost[arm]), timeout=120)
            assert done.returncode == 0, f"{command}: {done.stderr}"
        poll(lambda: not findings(system), timeout=60, interval=0.5, what="the advice helped")
        assert looked(system)["log"]["models"] == live
        assert {slot["arm"] for slot in guest.playlist()["slots"]} == set(ARMS)
        guest.close()
        _dead_letters_are_shown_by_what_is_advised(system)


def _arms(system: System, wanted: int) -> dict[str, dict[str, Any]]:
    found = {name.removeprefix("arm "): one for name, one in findings(system).items() if name.startswith("arm ")}
    return found if len(found) == wanted else {}


def _dead_letters_are_shown_by_what_is_advised(system: System) -> None:
    async def poison() -> None:
        async with producing(system.settings().kafka) as to:
            await to.send_and_wait(FEEDBACK.name, b"poison", partition=0)

    asyncio.run(poison())
    in_dlq = poll(lambda: findings(system).get("dead letters"), timeout=60, what="status says that there are some")
    shown = system.command(*advised(in_dlq), COLUMNS="200")
    assert (shown.returncode, "Invalid JSON" in shown.stdout) == (0, True)


def test_a_restored_system_serves_what_it_served(another: Another, tmp_path: Path) -> None:
    backup = str(tmp_path / "backup")
    with another() as system:
        before = looked(system)["log"]["models"]
        guest = Listener(system.url)
        done = system.command("backup", backup)
        assert done.returncode == 0, done.stderr
        assert "of minilm, mpnet" in done.stdout
    # Nothing is there but the log, the vectors of the encoders, and the key.
    with_vectors = System(tmp_path / "restored")
    _restored(with_vectors, backup, "put the signing key of before there first")
    shutil.copy(system.data_dir / "secret", with_vectors.data_dir / "secret")
    assert "listeners' sessions go on" in _again(tmp_path / "twice", backup, system.data_dir / "secret")
    _serves(with_vectors, before, guest.token)
    # A backup of an older version has the log alone: the sample's vectors are shipped.
    (tmp_path / "backup" / "beside.json").unlink()
    log_alone = System(tmp_path / "log-alone")
    _restored(log_alone, backup, "the signing key of before")
    _serves(log_alone, before, None)
    guest.close()


def _restored(system: System, backup: str, said: str) -> None:
    done = system.command("restore", backup, timeout=120)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def _again(data_dir: Path, backup: str, secret: Path) -> str:
    data_dir.mkdir()
    shutil.copy(secret, data_dir / "secret")
    return System(data_dir).command("restore", backup, timeout=120).stdout


def _serves(system: System, before: dict[str, str], token: str | None) -> None:
    try:
        system.start()
        poll(lambda: not findings(system), timeout=90, interval=1, what="it is healthy")
        assert looked(system)["log"]["models"] == before
        listener = Listener(system.url)
        if token is not None:
            listener.http.headers["authorization"] = f"Bearer {token}"
        assert {slot["arm"] for slot in listener.playlist()["slots"]} == set(ARMS)
        listener.close()
    finally:
        system.close()
