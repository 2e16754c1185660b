"""Real stores for connected tests: one Kafka and one Valkey a session (a worker), clean topics and keys on demand."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from contracts.topics import TOPICS, Topic, partitions_for
from services.common.clickhouse import ChdbConnection, ChdbEngine
from services.common.kafka import ensure_topics, partition_ids
from services.common.settings import KafkaSettings
from services.local.processes.kafka import KafkaNode
from services.local.processes.valkey import ValkeyNode
from tests.connected.warehouse import engine as chdb
from tests.support.stores import kafka_node, valkey_node
from tests.support.waiting import apoll


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaNode]:
    """A real single-node Kafka, shared by the session."""
    with kafka_node(Path(tmp_path_factory.mktemp("kafka"))) as node:
        yield node


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyNode]:
    """A real Valkey, shared by the session."""
    with valkey_node(Path(tmp_path_factory.mktemp("valkey"))) as node:
        yield node


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consumers of this process look twice a second what became of store and topics; it is every five seconds else."""
    monkeypatch.setattr("services.common.kafka.consuming.consumer._WATCH_SECONDS", 0.5)
    monkeypatch.setattr("services.common.kafka.consuming.subscription._METADATA_AGE_MS", 500)


@pytest_asyncio.fixture
async def log(kafka: KafkaNode) -> KafkaSettings:
    """The log with every topic empty: one that was written to is made again, as another topic with another id."""
    settings = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        there = set(await admin.list_topics())
        old = await _touched(settings, [topic for topic in TOPICS if topic.name in there])
        if old:
            await admin.delete_topics(sorted(old))

        async def gone() -> bool:
            return not old & set(await admin.list_topics())

        await apoll(gone, timeout=30, what="old topics are gone")
    finally:
        await admin.close()
    await ensure_topics(settings)
    return settings


async def _touched(settings: KafkaSettings, topics: list[Topic]) -> set[str]:
    """The topics that somebody wrote to, or that have other partitions than they were made with."""
    if not topics:
        return set()
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        places = {topic.name: await partition_ids(consumer, topic.name) for topic in topics}
        ends = await consumer.end_offsets([TopicPartition(name, p) for name in places for p in places[name]])
    finally:
        await consumer.stop()
    changed = {topic.name for topic in topics if len(places[topic.name]) != partitions_for(topic, settings.partitions)}
    return changed | {place.topic for place, end in ends.items() if end}


@pytest_asyncio.fixture
async def redis(valkey: ValkeyNode) -> AsyncIterator[Redis]:
    """A client of the session's Valkey, emptied before the test. Values are bytes."""
    client = Redis.from_url(valkey.url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def engine() -> ChdbEngine:
    """The one chDB engine of this process."""
    return chdb.engine()


@pytest.fixture
def clickhouse(engine: ChdbEngine) -> Iterator[ChdbConnection]:
    """A connection to the engine, with empty tables."""
    connection = engine.connect()
    chdb.empty(connection)
    yield connection
    connection.close()
