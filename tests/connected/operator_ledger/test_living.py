"""Real gateways, log and stores: retried posts, a row that is taken away, and a gateway that is killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from contracts.placement import partition_of
from services.cli.main import app
from services.common.clickhouse import ChdbConnection
from services.common.settings import ClickhouseSettings, KafkaSettings, Settings
from services.local.processes.ports import free_port
from services.local.processes.valkey import ValkeyNode
from services.operator.ledger.counting import NotYet, TopicCounter
from services.operator.ledger.entries import Ledger, read_ledger
from services.operator.readers.clickhouse import ClickhouseReader
from tests.connected.gateway.conftest import NOBODY, SECRET, Running, liked, running, settings_of
from tests.support.following import at_end, following, settings_for, warehousing
from tests.support.system import ROOT
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected


_PARTITIONS = KafkaSettings().partitions
# Its clock is half a minute slow: what it receives is old enough at once for the ledger to miss its account.
_SLOW = """
import time
from services.common.process import clock
clock.now_ms = lambda: time.time_ns() // 1_000_000 - 30_000
from services.cli.main import main
main()
"""


@contextmanager
def gateway_process(log: KafkaSettings, data_dir: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`animusic serve gateway` as a process of its own, on a slow clock, and where it answers."""
    port = str(free_port())
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ANIMUSIC_")}
    environment = {
        **clean, "PYTHONPATH": str(ROOT), "ANIMUSIC_DATA_DIR": str(data_dir), "ANIMUSIC_PORT": port,
        "ANIMUSIC_SECRET": SECRET, "ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": log.bootstrap_servers,
        "ANIMUSIC_GATEWAY__RECOMMENDER_URLS": json.dumps([NOBODY]),
    }  # fmt: skip
    with (data_dir / "gateway.log").open("wb") as output:
        command = [sys.executable, "-P", "-c", _SLOW, "serve", "gateway"]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


async def post_to_the_doomed(url: str, count: int) -> str:
    """Likes of a guest, to a gateway that is only just starting; the guest."""
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:

        async def answers() -> bool:
            try:
                return (await client.get("/readyz")).json()["parts"]["log"]["ok"]
            except httpx.TransportError:
                return False

        await apoll(answers, timeout=60, what="the gateway reaches the log")
        doomed = Running(client, url, None)  # type: ignore[arg-type]
        user_id, bearer = await doomed.guest()
        assert (await doomed.post(bearer, *(liked() for _ in range(count)))).status_code == 202
        return user_id


async def guest_elsewhere(gateway: Running, than: str) -> dict[str, str]:
    """Another partition's guest: what is accounted for beside what is not hides it until all of it is old."""
    while True:
        user_id, bearer = await gateway.guest()
        if partition_of(user_id, _PARTITIONS) != partition_of(than, _PARTITIONS):
            return bearer


async def counted(warehouse: ClickhouseReader, counter: TopicCounter, wanted: int) -> Ledger:
    """The ledger, once everything that was posted is counted and lies in ClickHouse."""

    async def there() -> Ledger | None:
        try:
            await counter.count()
        except NotYet:
            return None
        found = await read_ledger(warehouse, 3)
        total = found.total()
        return found if total.in_topic == total.in_clickhouse == total.used == wanted else None

    return await apoll(there, timeout=60, interval=0.5, what="everything is counted")


async def test_what_a_system_lives_through(
    log: KafkaSettings, *, redis: Redis, valkey: ValkeyNode, clickhouse: ChdbConnection, dsn: str, tmp_path: Path
) -> None:
    settings: Settings = settings_for(log, valkey.url, tmp_path)
    settings.clickhouse = ClickhouseSettings(dsn=dsn)
    warehouse = ClickhouseReader(ClickhouseSettings(dsn=dsn), 30)
    counter = TopicCounter(settings, warehouse, redis)
    async with following(settings, redis), warehousing(log, clickhouse):
        with gateway_process(log, tmp_path) as (process, url):
            lost = await post_to_the_doomed(url, 5)
            process.send_signal(signal.SIGKILL)
        events = [liked(f"song-{number}") for number in range(20)]
        async with running(settings_of(log, tmp_path)) as gateway:
            bearer = await guest_elsewhere(gateway, lost)
            for sent in (events, events[:3]):
                assert (await gateway.post(bearer, *sent)).status_code == 202
        await at_end(log, redis)

        total = (found := await counted(warehouse, counter, 28)).total()
        assert (total.accepted, total.lost, total.waiting) == (23, 0, 0)
        # Three ids were posted twice: twice in the topic, once after the fold.
        assert (total.duplicates, found.doubled, found.code) == (3, 0, 0)

        async def known_as_unknown() -> Ledger | None:
            seen = await read_ledger(warehouse, 3)
            return seen if seen.total().unaccounted else None

        seen = await apoll(known_as_unknown, timeout=40, interval=1, what="the killed gateway's events are unaccounted")
        assert (seen.total().unaccounted, seen.total().lost, seen.code) == (5, 0, 0)

        gone = str(events[4]["event_id"])
        clickhouse.command(
            f"ALTER TABLE animusic.feedback DELETE WHERE event_id = '{gone}' SETTINGS mutations_sync = 1"
        )
        done = await asyncio.to_thread(
            CliRunner().invoke, app, ["ledger"],
            env={"ANIMUSIC_DATA_DIR": str(tmp_path), "ANIMUSIC_CLICKHOUSE__DSN": dsn, "COLUMNS": "200"},
        )  # fmt: skip
        assert done.exit_code == 1, done.output
        assert "1 ids are in the topic and not in ClickHouse" in done.output
        assert gone in done.output
        assert "animusic replay warehouse" in done.output
        assert (await read_ledger(warehouse, 3)).total().unaccounted == 5
    await counter.close()
    await warehouse.aclose()
