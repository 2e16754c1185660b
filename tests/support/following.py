"""A profiles consumer in this process, records for it, and waiting until its store has come to the end of the log."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.fold import UNFOLDED_FIELDS, fold, stored_fields
from contracts.marks import MarkName
from contracts.placement import partition_of, shards_of_partition
from contracts.topics import DEAD_LETTERS, FEEDBACK
from services.common.clickhouse import ChdbConnection
from services.common.kafka import producer, read_to_end, topic_ids
from services.common.kafka.consuming.consumer import Consumer
from services.common.settings import KafkaSettings, RedisSettings, Settings
from services.profiles.app import TOPICS, build
from services.profiles.keys import ShardKeys
from services.profiles.store import ProfileStore
from services.warehouse.sink import TOPICS as WAREHOUSE_TOPICS
from services.warehouse.sink import WarehouseSink
from tests.support.waiting import apoll

GENERATION = "g1"


def settings_for(log: KafkaSettings, redis_url: str, data_dir: Path, **profiles: Any) -> Settings:
    """Settings of a consumer with a group of its own."""
    return Settings(
        data_dir=data_dir,
        kafka=log,
        redis=RedisSettings(url=redis_url, timeout_seconds=1.0),
        profiles={"group": f"test.{uuid4().hex}", **profiles},
    )


@contextlib.asynccontextmanager
async def following(settings: Settings, redis: Redis) -> AsyncIterator[Consumer[Any]]:
    """A started consumer, stopped at the end; `SystemExit` of its run is raised then."""
    async with _run_meanwhile(await build(settings, redis, CollectorRegistry())) as consumer:
        yield consumer


@contextlib.asynccontextmanager
async def warehousing(
    log: KafkaSettings, clickhouse: ChdbConnection, topics: Sequence[str] = WAREHOUSE_TOPICS, **options: Any
) -> AsyncIterator[Consumer[Any]]:
    """The warehouse's consumer with a group of its own, as `following`. `options` are the Consumer's."""
    made: Consumer[Any] = Consumer(
        log, WarehouseSink(clickhouse), topics, CollectorRegistry(), group=f"test.{uuid4().hex}",
        **{"max_records": 20_000, "hold_seconds": 0.05, **options},
    )  # fmt: skip
    async with _run_meanwhile(made) as consumer:
        yield consumer


@contextlib.asynccontextmanager
async def _run_meanwhile(consumer: Consumer[Any]) -> AsyncIterator[Consumer[Any]]:
    await consumer.start()
    run = asyncio.create_task(_run(consumer))
    try:
        yield consumer
    finally:
        consumer.stop()
        status = await run
    if status is not None:
        raise AssertionError(f"the consumer stopped with exit code {status}")


async def _run(consumer: Consumer[Any]) -> int | None:
    # A SystemExit in a task would end the test run's loop.
    try:
        await consumer.run()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return None


@contextlib.asynccontextmanager
async def producing(log: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    """A started producer."""
    started = producer(log)
    await started.start()
    try:
        yield started
    finally:
        await started.stop()


async def put(to: AIOKafkaProducer, topic: str, user_id: str, value: bytes | None) -> Any:
    """Append a record of a user where it belongs; returns its RecordMetadata."""
    partition = partition_of(user_id, len(await to.partitions_for(topic)))
    return await to.send_and_wait(topic, value, key=user_id.encode(), partition=partition)


async def put_events(to: AIOKafkaProducer, events: Iterable[FeedbackEvent]) -> None:
    """Append feedback, and return when all of it is durable."""
    partitions = len(await to.partitions_for(FEEDBACK.name))
    sent = [
        await to.send(
            FEEDBACK.name, e.log_value(), key=e.user_id.encode(), partition=partition_of(e.user_id, partitions)
        )
        for e in events
    ]
    await asyncio.gather(*sent)


async def ends(log: KafkaSettings) -> dict[MarkName, tuple[int, int]]:
    """Each partition of the three topics -> (end offset, partitions of its topic)."""
    ids = await topic_ids(log.bootstrap_servers, TOPICS)
    consumer = AIOKafkaConsumer(*TOPICS, bootstrap_servers=log.bootstrap_servers)
    await consumer.start()
    try:
        tps = [TopicPartition(topic, p) for topic in TOPICS for p in consumer.partitions_for_topic(topic) or ()]
        offsets = await consumer.end_offsets(tps)
        counts = {topic: len(consumer.partitions_for_topic(topic) or ()) for topic in TOPICS}
    finally:
        await consumer.stop()
    return {MarkName(ids[tp.topic], tp.partition): (end, counts[tp.topic]) for tp, end in offsets.items()}


async def at_end(log: KafkaSettings, redis: Redis, *, timeout: float = 60.0, generation: str = GENERATION) -> None:
    """Wait until all shards' marks are at the end of the log as of now."""
    wanted = await ends(log)

    async def there() -> bool:
        marks = await ProfileStore(redis, generation).marks()
        return all(
            marks[shard].get(name.field(), 0) >= end
            for name, (end, partitions) in wanted.items()
            for shard in shards_of_partition(name.partition, partitions)
        )

    await apoll(there, timeout=timeout, what="the store's marks are at the end of the log")


async def profiles_in(redis: Redis, generation: str = GENERATION) -> dict[str, dict[bytes, bytes]]:
    """User id -> fields without the version, of all users in the store."""
    found: dict[str, dict[bytes, bytes]] = {}
    async for key in redis.scan_iter(match=f"am:*:{generation}:u:*", count=1_000):
        fields = await redis.hgetall(key)
        for name in UNFOLDED_FIELDS:
            fields.pop(name, None)
        found[key.decode().split(":u:", 1)[1]] = fields
    return found


def folded(events: Iterable[FeedbackEvent]) -> dict[str, dict[bytes, bytes]]:
    """What `profiles_in` must be after these events."""
    users = {user_id: stored_fields(found) for user_id, found in fold(events).items()}
    return {user_id: fields for user_id, fields in users.items() if fields}


async def dead_letters(log: KafkaSettings) -> list[tuple[bytes | None, Mapping[str, str]]]:
    """(value, headers) of every dead letter."""
    found = []
    async for records in read_to_end(log, DEAD_LETTERS.name):
        found += [(record.value, {name: value.decode() for name, value in record.headers}) for record in records]
    return found


def user_keys(user_id: str) -> ShardKeys:
    """The keys of a user's shard."""
    return ShardKeys.of_user(GENERATION, user_id)
