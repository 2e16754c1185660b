"""A connection that the other side closes at any moment, on the loop that our services use."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest
from redis.asyncio import Redis

from services.common.process.loop import new_event_loop, run
from services.common.redis import REDIS_OUTAGES, connect
from services.common.settings import RedisSettings
from services.local.processes.kafka import KafkaNode
from services.local.processes.valkey import ValkeyNode

pytestmark = pytest.mark.connected

# A round of the loop a step: from before the client's next write to after it.
ROUNDS = range(8)


@asynccontextmanager
async def client(kafka: KafkaNode) -> AsyncIterator[Any]:
    """A client of Kafka with one connection, which has been used."""
    made = AIOKafkaClient(bootstrap_servers=kafka.bootstrap_servers)
    await made.bootstrap()
    try:
        await made.force_metadata_update()
        yield made
    finally:
        await made.close()


def test_the_loop_of_our_services_is_uvloops() -> None:
    loop = new_event_loop()
    try:
        assert isinstance(loop, uvloop.Loop)
    finally:
        loop.close()


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_client_of_kafka_asks_for_metadata_again_whenever_its_connection_broke(kafka: KafkaNode, rounds: int) -> None:
    async def main() -> None:
        async with client(kafka) as kafka_client:
            [connection] = kafka_client._conns.values()
            # As where the broker has gone: the next write fails, and brings down the connection some rounds later.
            with socket.socket(fileno=os.dup(connection._writer.get_extra_info("socket").fileno())) as same:
                same.shutdown(socket.SHUT_WR)
            broken = asyncio.ensure_future(kafka_client.send(kafka_client.get_random_node(), MetadataRequest([])))
            for _ in range(rounds):
                await asyncio.sleep(0)
            asked = asyncio.ensure_future(kafka_client.force_metadata_update())
            # Where the metadata's request came first, this one goes out on the next connection and is answered.
            await asyncio.wait_for(asyncio.gather(broken, asked, return_exceptions=True), 10)
            assert broken.exception() is None or isinstance(broken.exception(), KafkaError)
            assert not kafka_client._sync_task.done(), "the task that keeps the metadata has ended"
            assert await asyncio.wait_for(kafka_client.force_metadata_update(), 10) is True

    run(main())


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_command_to_redis_on_a_broken_connection_is_an_outage_or_done(valkey: ValkeyNode, rounds: int) -> None:
    async def main() -> None:
        redis: Redis = connect(RedisSettings(url=valkey.url))
        try:
            await redis.set("test_loop", "1")
            [connection] = redis.connection_pool._available_connections
            asked = asyncio.ensure_future(redis.get("test_loop"))
            for _ in range(rounds):
                await asyncio.sleep(0)
            if connection._writer is not None:
                connection._writer.transport.abort()
            try:
                assert await asyncio.wait_for(asked, 10) == b"1"
            except REDIS_OUTAGES:
                assert await redis.get("test_loop") == b"1"
        finally:
            await redis.aclose()

    run(main())
