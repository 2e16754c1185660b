"""Consumers against a real log: bisecting, dead letters, stopping, holes, topics made again, more partitions."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CorruptRecordException
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from contracts.topics import FEEDBACK
from services.common.kafka import ensure_topics
from services.common.kafka.consuming.consumer import EX_TEMPFAIL, Consumer
from services.common.kafka.consuming.flow import Flow
from services.common.kafka.consuming.model import Gap
from services.common.settings import KafkaSettings
from services.local.processes.valkey import ValkeyNode
from tests.support.appending import AppendingSink
from tests.support.following import (
    at_end,
    dead_letters,
    folded,
    following,
    producing,
    profiles_in,
    put_events,
    settings_for,
)
from tests.support.histories import histories
from tests.support.waiting import apoll

pytestmark = [pytest.mark.connected, pytest.mark.usefixtures("watchful")]
TOPIC = FEEDBACK.name


class Run:
    """A consumer of TOPIC into a list, and how it ended."""

    def __init__(self, log: KafkaSettings, redis: Redis, group: str, **options: Any) -> None:
        self.sink = AppendingSink(redis)
        self.consumer: Consumer[bytes] = Consumer(
            log, self.sink, [TOPIC], CollectorRegistry(), group=group, max_records=100, **options
        )
        self.exit_code: int | None = None

    async def until_end(self) -> None:
        """Start and run to the end."""
        await self.consumer.start()
        try:
            await self.consumer.run()
        except SystemExit as stopped:
            self.exit_code = int(stopped.code or 0)

    async def has(self, *values: bytes) -> None:
        """Wait until exactly these values were appended, in any order."""

        async def there() -> bool:
            return sorted(await self.sink.values()) == sorted(values)

        try:
            await apoll(there, timeout=40)
        except AssertionError:
            assert sorted(await self.sink.values()) == sorted(values)

    def counted(self, name: str) -> float:
        """What a metric of the consumer stands at; the name is without `animusic_consumer_`."""
        return self.consumer.metrics.value(f"animusic_consumer_{name}")  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def running(log: KafkaSettings, redis: Redis, group: str | None = None, **options: Any) -> AsyncIterator[Run]:
    """A consumer that is stopped at the end."""
    run = Run(log, redis, group or f"test.{uuid4().hex}", **options)
    task = asyncio.create_task(run.until_end())
    try:
        yield run
    finally:
        run.consumer.stop()
        await task


async def send(log: KafkaSettings, values: Sequence[bytes], partition: int = 0) -> None:
    """Append values to one partition, in order."""
    async with producing(log) as to:
        for value in values:
            await to.send_and_wait(TOPIC, value, partition=partition, headers=[("odd", b"\xff\xfe")])


async def test_what_the_store_never_takes_is_found_by_bisecting(log: KafkaSettings, redis: Redis):
    values = [f"{i:02}".encode() for i in range(30)]
    await send(log, [*values[:7], b"heavy", *values[7:20], b"poison", b"heavy", *values[20:]])
    async with running(log, redis) as run:
        await run.has(*values)
        assert await run.sink.values() == values
        in_dlq = [(value, headers["reason"], headers["offset"]) for value, headers in await dead_letters(log)]
    assert in_dlq == [(b"poison", "it says so itself", "21"), (b"heavy", "heavy", "7"), (b"heavy", "heavy", "22")]
    assert run.exit_code is None


async def test_the_unknown_stops_the_process_and_skips_nothing(log: KafkaSettings, redis: Redis):
    await send(log, [b"a", b"bug", b"b"])
    group = f"test.{uuid4().hex}"
    run = Run(log, redis, group)
    await asyncio.wait_for(run.until_end(), 60)
    assert run.exit_code == EX_TEMPFAIL
    assert await run.sink.values() == []
    assert await dead_letters(log) == []


async def test_a_newer_schema_stops_the_process_and_is_read_after_the_upgrade(
    log: KafkaSettings, redis: Redis, caplog: pytest.LogCaptureFixture
):
    await send(log, [b"a", b"newer", b"b"])
    run = Run(log, redis, f"test.{uuid4().hex}")
    await asyncio.wait_for(run.until_end(), 60)
    assert run.exit_code == EX_TEMPFAIL
    assert "upgrade consumers first" in caplog.text
    assert (await run.sink.values(), await dead_letters(log)) == ([b"a"], [])
    async with running(log, redis) as upgraded:
        upgraded.sink.upgraded = True
        await upgraded.has(b"a", b"newer", b"b")


async def test_too_many_dead_letters_stop_the_process_and_a_setting_lets_them_through(
    log: KafkaSettings, redis: Redis, caplog: pytest.LogCaptureFixture
):
    await send(log, [b"a", *[b"poison"] * 10, b"b"])
    run = Run(log.model_copy(update={"dead_letter_least": 5}), redis, f"test.{uuid4().hex}")
    await asyncio.wait_for(run.until_end(), 60)
    assert run.exit_code == EX_TEMPFAIL
    assert "the last reason: it says so itself. Correct the program that writes them" in caplog.text
    assert (await run.sink.values(), await dead_letters(log)) == ([], [])
    async with running(log.model_copy(update={"dead_letter_least": 5, "dead_letter_share": 1.0}), redis) as all_:
        await all_.has(b"a", b"b")
    assert len(await dead_letters(log)) == 10


async def test_errors_in_fetching_that_do_not_end_stop_the_process(
    log: KafkaSettings, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    async def corrupt(*_: object, **__: object) -> None:
        raise CorruptRecordException

    async with running(log, redis, retry_seconds=0.1) as run:
        await send(log, [b"a"])
        await run.has(b"a")
        monkeypatch.setattr(AIOKafkaConsumer, "getmany", corrupt)
        await apoll(lambda: _value(run.exit_code), what="it gave up")
    assert run.exit_code == EX_TEMPFAIL


async def test_an_outage_that_is_too_long_ends_in_a_restart(log: KafkaSettings, redis: Redis):
    async with running(log, redis, retry_seconds=0.3) as run:
        await send(log, [b"a"])
        await run.has(b"a")
        await redis.config_set("maxmemory", 1)
        try:
            run.sink.outages = (Exception,)
            await send(log, [b"b"])
            await apoll(lambda: _value(run.exit_code), what="it gave up")
        finally:
            await redis.config_set("maxmemory", 0)
    assert run.exit_code == EX_TEMPFAIL
    async with running(log, redis) as again:
        await again.has(b"a", b"b")


async def _value(value: object) -> object:
    return value


async def test_who_holds_records_is_not_woken_for_each(
    log: KafkaSettings, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    fetched: list[int] = []
    take = Flow.take

    async def counting(self: Flow[bytes], records: Sequence[Any]) -> None:
        fetched.append(len(records))
        await take(self, records)

    monkeypatch.setattr(Flow, "take", counting)
    values = [f"{i:02}".encode() for i in range(40)]
    async with running(log, redis, hold_seconds=2.0) as run, producing(log) as to:
        for value in values:
            await to.send_and_wait(TOPIC, value, partition=0)
            await asyncio.sleep(0.02)
        await run.has(*values)
    assert sum(fetched) == len(values)
    assert len(fetched) <= len(values) // 2


async def test_held_records_are_flushed_by_age_and_when_it_stops(log: KafkaSettings, redis: Redis):
    async with running(log, redis, hold_seconds=0.3) as run:
        await send(log, [b"a", b"b"])
        await run.has(b"a", b"b")
        assert run.counted("flushes") <= 2
    async with running(log, redis, hold_seconds=60) as held:
        await send(log, [b"c"])
        await apoll(lambda: _value(held.counted("records")), what="it is held")
        assert await held.sink.values() == [b"a", b"b"]
    assert await held.sink.values() == [b"a", b"b", b"c"]


async def test_records_that_expired_are_a_recorded_gap(log: KafkaSettings, redis: Redis):
    async with running(log, redis) as run:
        await send(log, [b"a"])
        await run.has(b"a")
    await send(log, [b"b", b"c", b"d"])
    async with administering(log) as admin:
        await admin.delete_records({TopicPartition(TOPIC, 0): RecordsToDelete(before_offset=3)})
    async with running(log, redis) as again:
        await again.has(b"a", b"d")
        assert again.counted("gaps") == 1
        assert again.sink.gaps == {Gap(1, 3)}


async def test_a_topic_made_again_is_read_from_its_start(log: KafkaSettings, redis: Redis):
    async with running(log, redis) as run:
        await send(log, [b"a", b"b"])
        await run.has(b"a", b"b")
        async with administering(log) as admin:
            await admin.delete_topics([TOPIC])
            await apoll(lambda: _gone(admin), what="the topic is gone")
            await ensure_topics(log)
        await send(log, [b"c", b"d", b"e"])
        await run.has(b"a", b"b", b"c", b"d", b"e")


async def _gone(admin: AIOKafkaAdminClient) -> bool:
    return TOPIC not in await admin.list_topics()


@pytest.mark.parametrize("more", [True, False])
async def test_a_client_that_brings_nothing_though_there_is_something_ends_its_process(
    log: KafkaSettings, redis: Redis, monkeypatch: pytest.MonkeyPatch, more: bool
):
    """Paused behind its consumer's back, as if it waited for an answer; where nothing came, nothing is wrong."""
    monkeypatch.setattr("services.common.kafka.consuming.positions.STALLED_SECONDS", 1.0)
    async with running(log, redis) as run:
        await send(log, [b"a"])
        await run.has(b"a")
        client = run.consumer._client()
        client.pause(*client.assignment())
        if more:
            await send(log, [b"b"])
            await apoll(lambda: _value(run.exit_code), what="it gave up")
        else:
            await asyncio.sleep(2.5)
    assert run.exit_code == (EX_TEMPFAIL if more else None)


async def test_a_second_member_shares_the_work_and_nothing_is_lost(log: KafkaSettings, redis: Redis):
    group = f"test.{uuid4().hex}"
    other = log.model_copy(update={"instance": "other"})
    async with running(log, redis, group) as run:
        await send(log, [b"a"], partition=0)
        await run.has(b"a")
        async with running(other, redis, group) as second:
            await apoll(lambda: _value(second.consumer.not_ready() is None), what="the second has partitions")
            for partition in range(8):
                await send(log, [b"p%d" % partition], partition)
            await run.has(b"a", *(b"p%d" % partition for partition in range(8)))
            assert second.counted("records") > 0


async def test_more_partitions_move_whole_shards_and_a_wiped_store_reads_the_old_places(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path
):
    events = [event for history in histories(21, 80) for event in history.events]
    settings = settings_for(log, valkey.url, tmp_path)
    half = len(events) // 2
    async with producing(log) as to, following(settings, redis):
        await put_events(to, events[:half])
        await at_end(log, redis)
    async with administering(log) as admin:
        await admin.create_partitions({TOPIC: NewPartitions(total_count=16)})
    async with producing(log) as to, following(settings, redis):
        await put_events(to, events[half:])
        await at_end(log, redis)
        assert await profiles_in(redis) == folded(events)
    await redis.flushall()
    async with following(settings, redis):
        await at_end(log, redis)
        assert await profiles_in(redis) == folded(events)


@contextlib.asynccontextmanager
async def administering(log: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client."""
    admin = AIOKafkaAdminClient(bootstrap_servers=log.bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def test_a_member_joins_once(log: KafkaSettings, redis: Redis):
    """Asking twice shows as a second generation of the group, and members that start together interrupt each other."""
    async with running(log, redis) as run:
        await send(log, [b"a"])
        await run.has(b"a")
        assert run.consumer._client()._coordinator.generation == 1


async def test_a_killed_member_of_another_version_is_waited_out(log: KafkaSettings, redis: Redis):
    """A member with a name of its own does not say that it leaves: it stands in the group until its session ends."""
    log = log.model_copy(update={"session_seconds": 6.0})
    await send(log, [b"a"])
    group = f"test.{uuid4().hex}"
    killed = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=log.bootstrap_servers, group_id=group, group_instance_id="older",
        session_timeout_ms=6_000, partition_assignment_strategy=[RangePartitionAssignor],
    )  # fmt: skip
    await killed.start()
    await killed.stop()
    async with running(log, redis, group) as run:

        async def says_why() -> bool:
            return "a member (older" in str(run.consumer.not_ready())

        await apoll(says_why, timeout=5, what="it says what it waits for")
        await run.has(b"a")
        assert run.consumer.not_ready() is None


async def test_members_of_another_version_that_stay_end_it_for_a_new_start(
    log: KafkaSettings, redis: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("services.common.kafka.consuming.consumer._JOIN_SECONDS", 1.0)
    log = log.model_copy(update={"session_seconds": 6.0})
    group = f"test.{uuid4().hex}"
    async with AIOKafkaConsumer(
        TOPIC, bootstrap_servers=log.bootstrap_servers, group_id=group, session_timeout_ms=6_000,
        partition_assignment_strategy=[RangePartitionAssignor],
    ):  # fmt: skip
        run = Run(log, redis, group)
        with pytest.raises(SystemExit) as ended:
            await run.consumer.start()
        assert ended.value.code == EX_TEMPFAIL
        assert "one that runs must be stopped, for 7 s" in caplog.text
        run.consumer.stop()
        await run.consumer.run()


async def test_one_that_never_becomes_a_member_ends_for_a_new_start(
    log: KafkaSettings, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.common.kafka.consuming.consumer._JOIN_SECONDS", 0.0)
    run = Run(log, redis, f"test.{uuid4().hex}")
    with pytest.raises(SystemExit) as ended:
        await run.consumer.start()
    assert ended.value.code == EX_TEMPFAIL
    run.consumer.stop()
    await run.consumer.run()
