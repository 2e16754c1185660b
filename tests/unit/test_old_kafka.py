"""What is said of a Kafka older than 2.8: none runs on the Java that comes with us, so a socket answers as one does."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO

import aiokafka.conn
import pytest
import pytest_asyncio
from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.metadata import MetadataResponse_v5
from aiokafka.protocol.types import Int16, Int32

from services.common import loop
from services.common.kafka.metadata import METADATA, WITH_TOPIC_IDS, topic_ids

API_VERSIONS = 18


class OldBroker:
    """Answers ApiVersions, and Metadata without topic ids, of which it offers no version that has them."""

    def __init__(self) -> None:
        self.port = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size = Int32.decode(BytesIO(await reader.readexactly(4)))
                request = BytesIO(await reader.readexactly(size))
                api, _version, correlation = Int16.decode(request), Int16.decode(request), Int32.decode(request)
                answer = Int32.encode(correlation) + self._answer(api).encode()
                writer.write(Int32.encode(len(answer)) + answer)
        except asyncio.IncompleteReadError:
            writer.close()

    def _answer(self, api: int) -> ApiVersionResponse_v0 | MetadataResponse_v5:
        if api == API_VERSIONS:
            return ApiVersionResponse_v0(0, [(API_VERSIONS, 0, 0), (METADATA, 0, WITH_TOPIC_IDS - 1)])
        assert api == METADATA
        return MetadataResponse_v5(0, [(1, "127.0.0.1", self.port, None)], "old", 1, [])


@pytest_asyncio.fixture
async def old() -> AsyncIterator[str]:
    """Its address."""
    broker = OldBroker()
    async with await asyncio.start_server(broker.talk, "127.0.0.1", 0) as server:
        broker.port = server.sockets[0].getsockname()[1]
        yield f"127.0.0.1:{broker.port}"


@pytest.mark.parametrize("connection", [aiokafka.conn.AIOKafkaConnection, loop.Connection])
async def test_a_kafka_without_topic_ids_is_named_with_the_version_that_has_them(
    old: str, connection: type[aiokafka.conn.AIOKafkaConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said of the same connection under uvloop, too, whose own RuntimeErrors mean that it has gone."""
    monkeypatch.setattr(aiokafka.conn, "AIOKafkaConnection", connection)
    with pytest.raises(RuntimeError, match=rf"the Kafka at {old} knows no topic ids; 2\.8 or newer is needed"):
        await topic_ids(old, ["any"])
