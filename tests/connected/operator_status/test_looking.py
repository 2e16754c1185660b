"""A look at real parts: healthy, lagging, with dead letters and gaps, with parts that are down or frozen."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from redis.asyncio import Redis

from contracts.topics import FEEDBACK, PROFILES
from services.common.redis import connect
from services.common.settings import ClickhouseSettings, KafkaSettings, RedisSettings, Settings
from services.local.processes.ports import free_port
from services.local.processes.valkey import ValkeyNode
from services.operator.replay.lease import Lease
from services.operator.status.collector import StatusCollector
from services.operator.status.judging import Limits
from services.operator.status.model import Status
from tests.connected.warehouse.test_service import Process
from tests.support.following import at_end, following, producing, put_events, settings_for
from tests.support.histories import histories
from tests.support.stores import valkey_node
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected

EVENTS = [event for history in histories(21, 10) for event in history.events]
# Five, and what a busy machine takes to open and close connections.
_SECONDS = 6.0


@pytest.fixture
def warehouse(log: KafkaSettings, tmp_path: Path) -> Iterator[Process]:
    """A warehouse process, not started yet."""
    process = Process(log, tmp_path, ANIMUSIC_WAREHOUSE__FLUSH_MS="50")
    yield process
    process.end(signal.SIGKILL)


@pytest.fixture
def settings(log: KafkaSettings, valkey: ValkeyNode, warehouse: Process, tmp_path: Path) -> Settings:
    """Where the parts are."""
    made = settings_for(log, valkey.url, tmp_path)
    made.clickhouse = ClickhouseSettings(dsn=f"http://127.0.0.1:{warehouse.port}/animusic")
    made.warehouse.group = warehouse.environment["ANIMUSIC_WAREHOUSE__GROUP"]
    return made


@pytest_asyncio.fixture
async def caught_up(
    log: KafkaSettings, redis: Redis, settings: Settings, warehouse: Process
) -> AsyncIterator[dict[str, Any]]:
    """Both stores at the end of a log with events; the supervisor's status of a system with one service."""
    async with producing(log) as to:
        await put_events(to, EVENTS)
    warehouse.start()
    async with following(settings, redis):
        await at_end(log, redis)
    await warehouse.ready()
    await apoll(lambda: warehouse.marked(FEEDBACK.name, len(EVENTS)), timeout=30, what="the warehouse is at the end")
    part = {"state": "ready", "pid": warehouse.pid, "restarts": 3, "address": f"http://127.0.0.1:{warehouse.port}"}
    yield {"parts": {"warehouse": part}}


async def collect(settings: Settings, supervisor: dict[str, Any], limits: Limits = Limits()) -> Status:
    """One look; it must not take long."""
    began = time.monotonic()
    status = await StatusCollector(settings, limits, lambda: supervisor).collect()
    assert time.monotonic() - began < _SECONDS
    return status


async def test_all_is_well_and_then_it_lags(
    log: KafkaSettings, settings: Settings, caught_up: dict[str, Any], warehouse: Process
) -> None:
    status = await collect(settings, caught_up)
    assert (status.code, status.findings) == (0, [])
    assert (status.log.brokers, status.log.missing, status.log.records) == (1, [], len(EVENTS))
    assert (status.redis.generation, status.redis.append_only) == ("g1", True)
    assert status.clickhouse.rows > len(EVENTS)
    assert status.disk.used["clickhouse"] > 0
    assert [(p.name, p.restarts, p.alive) for p in status.processes] == [("warehouse", 3, True)]
    assert {lag.lag for lag in status.lags} == {0}
    assert {(lag.store, lag.topic) for lag in status.lags} >= {
        ("profiles", PROFILES.name),
        ("warehouse", FEEDBACK.name),
    }
    feedback = [lag for lag in status.lags if lag.topic == FEEDBACK.name and lag.store == "profiles"]
    assert sum(lag.mark or 0 for lag in feedback) == sum(lag.committed or 0 for lag in feedback) == len(EVENTS)

    assert warehouse.end(signal.SIGTERM) == 0
    async with producing(log) as to:
        await put_events(to, EVENTS)
    down = await collect(settings, {}, Limits(lag=10))
    assert down.code == 2
    found = {finding.name: finding for finding in down.findings}
    assert "httpx" not in found["clickhouse"].detail
    assert f"{len(EVENTS)} records of {FEEDBACK.name} behind" in found["profiles lags"].detail
    assert all(finding.remedy and finding.page for finding in down.findings)
    behind = [lag for lag in down.lags if lag.lag]
    assert {lag.store for lag in behind} == {"profiles"}
    assert all(lag.oldest_seconds is not None and lag.oldest_seconds < 60 for lag in behind)


async def test_another_process_or_store_in_the_place_of_ours_is_not_healthy(
    settings: Settings, caught_up: dict[str, Any], warehouse: Process, valkey: ValkeyNode, tmp_path: Path
) -> None:
    part = caught_up["parts"]["warehouse"]
    elsewhere = {"state": "ready", "pid": os.getpid(), "restarts": 0, "address": "unix://x"}
    other = await collect(settings, {"parts": {"warehouse": {**part, "pid": os.getpid()}, "valkey": elsewhere}})
    found = {finding.name: finding.detail for finding in other.findings if finding.state == "fail"}
    assert f"another process answers there: {warehouse.pid} instead of {os.getpid()}" in found["warehouse"]
    assert f"another Valkey answers at its address (process {valkey.pid})" in found["redis"]
    foreign = await collect(settings, {"parts": {"warehouse": part}, "installation": "a" * 32})
    assert "another installation of AniMusic answers there" in foreign.findings[0].detail
    kept = settings.data_dir / "kafka" / "cluster-id"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("not this cluster")
    stranger = await collect(settings, {"parts": {"kafka": elsewhere}})
    assert any("another Kafka answers at its address" in finding.detail for finding in stranger.findings)


async def test_dead_letters_degrade_it(
    log: KafkaSettings, redis: Redis, settings: Settings, caught_up: dict[str, Any]
) -> None:
    async with producing(log) as to:
        await to.send_and_wait(FEEDBACK.name, b"poison", partition=0)
    async with following(settings, redis):
        await at_end(log, redis)
    status = await collect(settings, caught_up)
    assert status.code == 1, status.findings
    assert (status.log.dead_letters.open, status.log.dead_letters.new) == (1, 1)
    (dead_letter,) = [finding for finding in status.findings if finding.name == "dead letters"]
    assert f"{FEEDBACK.name}/0@" in dead_letter.detail
    assert "animusic dlq" in dead_letter.remedy


async def test_who_rebuilds_profiles_is_told(redis: Redis, settings: Settings, caught_up: dict[str, Any]) -> None:
    assert (await collect(settings, caught_up)).redis.rebuild == ""
    lease = Lease(redis, "profiles", "g2")
    lease.doing = "reading: 3 of 10"
    await lease.take()
    status = await collect(settings, caught_up)
    assert status.code == 0
    assert "profiles into generation g2" in status.redis.rebuild
    assert status.redis.rebuild.endswith(f"by process {os.getpid()} on {socket.gethostname()}; reading: 3 of 10")
    await lease.release()
    assert (await collect(settings, caught_up)).redis.rebuild == ""


@pytest.mark.usefixtures("caught_up")
async def test_the_warehouse_says_itself_how_far_it_is(warehouse: Process) -> None:
    said = json.loads(await warehouse.get("/readyz"))
    assert (said["status"], said["lag"], said["oldest_seconds"]) == ("ready", 0, 0.0)
    assert 'animusic_consumer_lag{partition="0",step="warehouse",topic="animusic.feedback.v1"} 0.0' in (
        await warehouse.get("/metrics")
    )


async def test_a_consumer_says_what_it_waits_for(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, settings: Settings
) -> None:
    async with contextlib.aclosing(connect(settings.redis)) as impatient, following(settings, impatient) as consumer:

        async def well() -> bool:
            return consumer.not_ready() is None and consumer.health_details()["lag"] == 0

        async def waiting() -> bool:
            return consumer.health_details().get("waiting_for") == "the store" and consumer.health_details()["lag"] > 0

        await apoll(well, timeout=20, what="the consumer is well")
        os.kill(valkey.pid or 0, signal.SIGSTOP)
        try:
            async with producing(log) as to:
                await put_events(to, EVENTS)
            await apoll(waiting, timeout=20, what="the consumer says what it waits for")
            assert "the store does not answer" in str(consumer.not_ready())
            assert consumer.health_details()["oldest_seconds"] > 0
        finally:
            os.kill(valkey.pid or 0, signal.SIGCONT)
        await at_end(log, redis)
        await apoll(well, timeout=20, what="the consumer is well again")


async def test_what_left_the_log_unread_is_told(
    log: KafkaSettings, settings: Settings, caught_up: dict[str, Any], warehouse: Process
) -> None:
    assert warehouse.end(signal.SIGTERM) == 0
    at = TopicPartition(FEEDBACK.name, 3)
    good = EVENTS[0].log_value()
    async with producing(log) as to:
        lost = [await to.send_and_wait(FEEDBACK.name, good, partition=3) for _ in range(5)]
        admin = AIOKafkaAdminClient(bootstrap_servers=log.bootstrap_servers)
        await admin.start()
        await admin.delete_records({at: RecordsToDelete(lost[-1].offset + 1)})
        await admin.close()
        kept = await to.send_and_wait(FEEDBACK.name, good, partition=3)
    warehouse.start()
    await warehouse.ready()
    caught_up["parts"]["warehouse"]["pid"] = warehouse.pid

    async def there() -> bool:
        found = await warehouse.ask(f"SELECT max(mark) FROM animusic.marks_clean WHERE topic = '{FEEDBACK.name}'")
        return bool(found[0][0] == kept.offset + 1)

    await apoll(there, timeout=20, what="the warehouse goes on after the gap")
    status = await collect(settings, caught_up)
    assert status.code == 1
    assert (status.clickhouse.gaps.noted, status.clickhouse.gaps.records, status.clickhouse.gaps.new) == (1, 5, 1)
    details = [finding.detail for finding in status.findings if finding.page.endswith("#recorded-gaps")]
    assert any(f"offsets {lost[0].offset} to {lost[-1].offset}" in detail for detail in details)


async def test_what_is_down_or_frozen_takes_no_longer(
    log: KafkaSettings, settings: Settings, caught_up: dict[str, Any], tmp_path: Path
) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    away = settings.model_copy(update={"kafka": KafkaSettings(bootstrap_servers=nowhere)})
    status = await collect(away, caught_up)
    assert (status.code, status.findings[0].name, status.lags) == (2, "log", [])
    assert not status.redis.trouble
    with valkey_node(tmp_path / "v") as node:
        os.kill(node.pid or 0, signal.SIGSTOP)
        frozen = settings.model_copy(update={"redis": RedisSettings(url=node.url)})
        status = await collect(frozen, caught_up)
        os.kill(node.pid or 0, signal.SIGCONT)
    assert status.code == 2
    assert {lag.store for lag in status.lags} == {"warehouse"}
    assert [finding.name for finding in status.findings if finding.state == "fail"] == ["redis"]
