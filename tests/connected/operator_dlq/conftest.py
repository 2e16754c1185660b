"""Both consumers on one real log, and letters in it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from redis.asyncio import Redis

from services.common.clickhouse import ChdbConnection
from services.common.settings import KafkaSettings
from services.local.processes.valkey import ValkeyNode
from tests.connected.operator_dlq.house import House, house


@pytest_asyncio.fixture
async def home(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, clickhouse: ChdbConnection, tmp_path: Path
) -> AsyncIterator[House]:
    """Profiles and warehouse, following the log."""
    async with house(log, redis, valkey.url, clickhouse, tmp_path) as both:
        yield both
