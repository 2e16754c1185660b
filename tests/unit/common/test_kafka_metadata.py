"""What the log says of topics and epochs, asked of a socket that answers as a broker does."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import aiokafka.conn
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import LeaderNotAvailableError
from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.metadata import MetadataResponse_v5
from aiokafka.protocol.types import Int16, Int32

from services.common.kafka import Leader, describe_topics, epoch_ends, metadata, topic_ids
from services.common.kafka.metadata import METADATA, OFFSET_FOR_LEADER_EPOCH, WITH_TOPIC_IDS
from services.common.process import loop

API_VERSIONS = 18
ID = uuid.UUID(int=7)
# Partition 0 is led by broker 1 in epoch 4; partition 1 has no leader just now.
PARTITIONS = [(0, 0, 1, 4, [1], [1], [], {}), (5, 1, -1, 4, [1], [], [1], {})]


class Broker:
    """Answers ApiVersions and Metadata without topic ids; whatever else is asked, `answers` has by key."""

    def __init__(self, answers: dict[int, Callable[[], Any]]) -> None:
        self.port = 0
        self._answers = answers

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size = Int32.decode(BytesIO(await reader.readexactly(4)))
                request = BytesIO(await reader.readexactly(size))
                api, version, correlation = Int16.decode(request), Int16.decode(request), Int32.decode(request)
                # A flexible version has tags behind its header.
                tags = b"\0" if (api, version) == (METADATA, WITH_TOPIC_IDS) else b""
                answer = Int32.encode(correlation) + tags + self._answer(api, version).encode()
                writer.write(Int32.encode(len(answer)) + answer)
        except asyncio.IncompleteReadError:
            writer.close()

    def _answer(self, api: int, version: int) -> Any:
        if api == API_VERSIONS:
            newest = WITH_TOPIC_IDS if METADATA in self._answers else WITH_TOPIC_IDS - 1
            return ApiVersionResponse_v0(
                0, [(API_VERSIONS, 0, 0), (METADATA, 0, newest), (OFFSET_FOR_LEADER_EPOCH, 0, 3)]
            )
        if api == METADATA and version < WITH_TOPIC_IDS:
            return MetadataResponse_v5(0, [(1, "127.0.0.1", self.port, None)], "cluster", 1, [])
        return self._answers[api]()


@asynccontextmanager
async def broker(answers: dict[int, Callable[[], Any]]) -> AsyncIterator[str]:
    """Its address."""
    made = Broker(answers)
    async with await asyncio.start_server(made.talk, "127.0.0.1", 0) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield f"127.0.0.1:{made.port}"


def topics(*found: tuple[Any, ...]) -> dict[int, Callable[[], Any]]:
    """An answer to Metadata with these topics: (error, name, id, partitions)."""
    told = [(code, name, topic_id, False, partitions, 0, {}) for code, name, topic_id, partitions in found]
    return {METADATA: lambda: metadata._TopicsResponseV10(0, [], "cluster", 1, told, 0, {})}


async def test_a_topic_has_its_id_its_partitions_and_their_leaders() -> None:
    async with broker(topics((0, "t", ID, PARTITIONS))) as address:
        described = await describe_topics(address, ["t"])
    assert described.ids == {"t": ID.hex}
    assert described.partitions == {"t": 2}
    assert described.leaders == {TopicPartition("t", 0): Leader(1, 4)}


async def test_a_topic_that_is_not_there_is_named() -> None:
    async with broker(topics((0, "t", ID, PARTITIONS), (3, "gone", uuid.UUID(int=0), []))) as address:
        with pytest.raises(LookupError, match="no topic gone; `animusic topics` creates"):
            await describe_topics(address, ["t", "gone"])


async def test_a_topic_without_an_id_is_what_the_broker_says() -> None:
    async with broker(topics((5, "t", uuid.UUID(int=0), []))) as address:
        with pytest.raises(LeaderNotAvailableError, match="the id of topic t"):
            await describe_topics(address, ["t"])


async def test_the_ends_of_epochs_are_those_that_the_leader_knows() -> None:
    ends = [("t", [(0, 0, 4, 70), (0, 1, 4, -1), (74, 2, 4, 9)])]
    answers = {OFFSET_FOR_LEADER_EPOCH: lambda: metadata._EpochEndsResponseV3(0, ends)}
    async with broker(answers) as address:
        found = await epoch_ends(address, {TopicPartition("t", number): Leader(1, 4) for number in range(3)})
    assert found == {TopicPartition("t", 0): 70}, "one has no end, one an error"


@pytest.mark.parametrize("connection", [aiokafka.conn.AIOKafkaConnection, loop.Connection])
async def test_a_kafka_without_topic_ids_is_named_with_the_version_that_has_them(
    connection: type[aiokafka.conn.AIOKafkaConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """None runs on the Java that comes with us. Also under uvloop, whose RuntimeErrors mean a broken connection."""
    monkeypatch.setattr(aiokafka.conn, "AIOKafkaConnection", connection)
    async with broker({}) as old:
        with pytest.raises(RuntimeError, match=rf"the Kafka at {old} knows no topic ids; 2\.8 or newer is needed"):
            await topic_ids(old, ["any"])
