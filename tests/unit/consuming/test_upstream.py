"""What is done by ourselves since FastStream or aiokafka do not: each test fails when a newer version does.

Then delete what it names, and the test.
"""

import asyncio
import inspect
import pkgutil
import types
from typing import Any

import aiokafka.conn
import aiokafka.protocol
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException, KafkaConnectionError
from aiokafka.protocol import metadata
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import OffsetAndMetadata

from services.common.kafka.consuming.subscription import Subscription
from services.common.kafka.metadata import OFFSET_FOR_LEADER_EPOCH, WITH_TOPIC_IDS
from services.common.process import loop
from services.common.settings import KafkaSettings


def test_aiokafka_speaks_no_metadata_with_topic_ids() -> None:
    """Else services.common.kafka.metadata need not write out Metadata."""
    versions = [found.API_VERSION for name, found in vars(metadata).items() if name.startswith("MetadataRequest_v")]
    assert versions
    assert max(versions) < WITH_TOPIC_IDS


def test_aiokafka_does_not_ask_for_the_ends_of_epochs() -> None:
    """Else services.common.kafka.metadata need not write out OffsetForLeaderEpoch."""
    modules = [pkgutil.resolve_name(f"aiokafka.protocol.{found.name}") for found in
               pkgutil.iter_modules(aiokafka.protocol.__path__)]  # fmt: skip
    keys = {getattr(found, "API_KEY", None) for module in modules for found in vars(module).values()}
    assert MetadataRequest.API_KEY in keys
    assert OFFSET_FOR_LEADER_EPOCH not in keys


def test_aiokafka_has_no_public_way_to_refresh_metadata() -> None:
    """Else services.common.kafka.refresh_metadata is that."""
    public = [name for name, _ in inspect.getmembers(AIOKafkaConsumer) if not name.startswith("_")]
    assert [name for name in public if "metadata" in name or "refresh" in name] == []
    assert not inspect.iscoroutinefunction(AIOKafkaConsumer.partitions_for_topic)


async def test_aiokafka_s_consumer_does_not_return_the_metadata_of_a_committed_offset() -> None:
    """Else (its issue 857) CommittedOffsets asks the consumer, not an admin client."""
    place = TopicPartition("t", 0)

    async def fetch_committed_offsets(_: object) -> dict[TopicPartition, OffsetAndMetadata]:
        return {place: OffsetAndMetadata(3, "read to 3 under epoch 1")}

    coordinator = types.SimpleNamespace(fetch_committed_offsets=fetch_committed_offsets)
    consumer = types.SimpleNamespace(_group_id="g", _coordinator=coordinator)
    assert await AIOKafkaConsumer.committed(consumer, place) == 3


@pytest.mark.parametrize("connection", [aiokafka.conn.AIOKafkaConnection, loop.Connection])
def test_a_broken_connection_is_no_outage_to_aiokafka_on_uvloop(connection: type[Any]) -> None:
    """Else (its issue 1038) services.common.process.loop needs no connection of its own."""

    async def main() -> None:
        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        used = connection(host, port)
        used._reader, used._writer = await asyncio.open_connection(host, port)
        used._versions = {MetadataRequest.API_KEY: (0, 1)}
        used._read_task = asyncio.ensure_future(asyncio.sleep(0))
        used._writer.transport.abort()
        await asyncio.sleep(0.05)
        try:
            used.send(MetadataRequest([]))
        finally:
            server.close()

    error = KafkaConnectionError if connection is loop.Connection else RuntimeError
    with pytest.raises(error) as broken, asyncio.Runner(loop_factory=loop.new_event_loop) as runner:
        runner.run(main())
    assert type(broken.value) is error


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Of a consumer that never gets a partition."""

    async def on_partitions_revoked(self, revoked: object) -> None:
        """Nothing is assigned."""

    async def on_partitions_assigned(self, assigned: object) -> None:
        """Nothing is assigned."""


class Failing:
    """A consumer whose fetches fail."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)

    async def getmany(self, **_: Any) -> None:
        raise self._errors.pop(0)


async def test_every_error_in_fetching_is_observed_and_the_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """FastStream's own loop, as it runs in a started broker: it must call `get_msg` for each fetch."""
    seen: list[BaseException] = []

    async def no_pause(_: float) -> None:
        """FastStream waits 5 s after an error."""

    made = Subscription(
        KafkaSettings(), {"topic": 1}, _nothing, Listener(), seen.append,
        group="g", step="test", max_records=1, gather_ms=0,
    )  # fmt: skip
    await made.broker.connect()
    monkeypatch.setattr("faststream.kafka.subscriber.usecase.anyio", types.SimpleNamespace(sleep=no_pause))
    monkeypatch.setattr(made._subscriber, "running", True)
    corrupt = CorruptRecordException()
    await made._subscriber._run_consume_loop(Failing(corrupt, corrupt, ConsumerStoppedError()))
    assert seen == [corrupt, corrupt]
    with pytest.raises(ZeroDivisionError):
        await made._subscriber._run_consume_loop(Failing(ZeroDivisionError()))
    assert len(seen) == 3


async def test_a_fetch_without_records_is_followed_by_the_next_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """FastStream's own `get_msg` sleeps in between, and records that come meanwhile wait for it."""

    class Quiet:
        async def getmany(self, **told: Any) -> dict[Any, Any]:
            assert told["timeout_ms"] >= 500
            return {}

    async def sleeps(_: float) -> None:
        raise AssertionError("it sleeps")

    monkeypatch.setattr("faststream.kafka.subscriber.usecase.anyio", types.SimpleNamespace(sleep=sleeps))
    made = Subscription(
        KafkaSettings(), {"topic": 1}, _nothing, Listener(), lambda error: None,
        group="g", step="test", max_records=1, gather_ms=0,
    )  # fmt: skip
    assert await made._subscriber.get_msg(Quiet()) == ()


async def _nothing(_: Any) -> None:
    """No record comes."""
