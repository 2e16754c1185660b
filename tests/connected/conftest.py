"""Real stores for connected tests: one Kafka and one Valkey a session (a worker), clean topics and keys on demand."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from contracts.topics import TOPICS
from services.common.kafka import ensure_topics
from services.common.settings import KafkaSettings
from services.local.engines.kafka import KafkaNode
from services.local.engines.valkey import ValkeyNode
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


@pytest_asyncio.fixture
async def log(kafka: KafkaNode) -> KafkaSettings:
    """The log with every topic new and empty: a re-created topic is another topic, with another id."""
    settings = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        ours = {topic.name for topic in TOPICS}
        old = ours & set(await admin.list_topics())
        if old:
            await admin.delete_topics(sorted(old))

        async def gone() -> bool:
            return not ours & set(await admin.list_topics())

        await apoll(gone, timeout=30, what="old topics are gone")
    finally:
        await admin.close()
    await ensure_topics(settings)
    return settings


@pytest_asyncio.fixture
async def redis(valkey: ValkeyNode) -> AsyncIterator[Redis]:
    """A client of the session's Valkey, emptied before the test. Values are bytes."""
    client = Redis.from_url(valkey.url)
    await client.flushall()
    yield client
    await client.aclose()
