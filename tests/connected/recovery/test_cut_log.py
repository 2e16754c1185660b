"""A partition that loses its tail under a consumer: what is new arrives, also at the offsets of what was lost."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from redis.asyncio import Redis

from contracts.topics import FEEDBACK
from services.common.kafka import describe_topics, ensure_topics, epoch_ends
from services.common.kafka.consuming.model import Gap
from services.common.settings import KafkaSettings
from services.local.processes.kafka import KafkaNode
from services.local.processes.ports import free_port
from tests.connected.common.test_consuming import running, send
from tests.support.stores import jars
from tests.support.waiting import apoll

pytestmark = [pytest.mark.connected, pytest.mark.usefixtures("watchful")]

_HEALTHY_SECONDS = 60.0
_RECORDS, _KEPT = 20, 12
_HEADER = struct.Struct(">qi")
PLACE = TopicPartition(FEEDBACK.name, 0)
LOST = Gap(_KEPT, _RECORDS)
OLD = [b"old-%02d" % number for number in range(_RECORDS)]


class Log:
    """One Kafka of the test's own, which can be stopped, cut, and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.node = KafkaNode(directory, jars())
        self.node.start()
        self.node.wait_ready()
        self.settings = KafkaSettings(bootstrap_servers=self.node.bootstrap_servers)

    def start(self) -> None:
        """Start it on the ports that it had."""
        self.node = KafkaNode(self._directory, jars(), port=self.node.port)
        self.node.start()
        self.node.wait_ready()

    def start_elsewhere(self) -> KafkaSettings:
        """Start it where none of its clients looks for it."""
        self.node = KafkaNode(self._directory, jars(), port=free_port())
        self.node.start()
        self.node.wait_ready()
        return KafkaSettings(bootstrap_servers=self.node.bootstrap_servers)

    def cut(self) -> None:
        """Take the last batches off the first partition of the stopped broker, as a disk that lied would have."""
        partition = self._directory / "log" / f"{FEEDBACK.name}-0"
        (segment,) = partition.glob("*.log")
        whole, at = segment.read_bytes(), 0
        while at < len(whole) and _HEADER.unpack_from(whole, at)[0] < _KEPT:
            at += _HEADER.size + _HEADER.unpack_from(whole, at)[1]
        assert 0 < at < len(whole)
        segment.write_bytes(whole[:at])
        for name in ("recovery-point-offset-checkpoint", "replication-offset-checkpoint", ".kafka_cleanshutdown"):
            (self._directory / "log" / name).unlink(missing_ok=True)
        (partition / "leader-epoch-checkpoint").unlink(missing_ok=True)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Log]:
    started = Log(tmp_path / "kafka")
    try:
        yield started
    finally:
        started.node.kill()


async def test_a_log_that_became_shorter_is_noticed_and_what_is_new_arrives(broker: Log, redis: Redis):
    await ensure_topics(broker.settings)
    async with running(broker.settings, redis) as run:
        await send(broker.settings, OLD)
        await run.has(*OLD)
        await apoll(lambda: _value(run.consumer._flow.epochs.read(PLACE) == _RECORDS), what="how far it is is noted")
        port = broker.node.port
        broker.node.kill()
        broker.cut()
        broker.start()
        assert broker.node.port == port
        await apoll(lambda: _value(run.counted("gaps")), timeout=_HEALTHY_SECONDS, what="the cut is recorded")
        await send(broker.settings, [b"new-00", b"new-01"])

        async def arrived() -> bool:
            return {b"new-00", b"new-01"} <= set(await run.sink.values())

        await apoll(arrived, timeout=_HEALTHY_SECONDS, what="what is new arrives")
        assert run.consumer.not_ready() is None
        assert run.sink.gaps == {LOST}
    assert run.exit_code is None


async def test_new_records_at_the_offsets_of_lost_ones_are_read(broker: Log, redis: Redis):
    """The log is longer than ever when the consumer meets it again: by its offsets nothing is wrong with it."""
    await ensure_topics(broker.settings)
    new = [b"new-%02d" % number for number in range(_RECORDS)]
    async with running(broker.settings, redis) as run:
        await send(broker.settings, OLD)
        await run.has(*OLD)
        await apoll(lambda: _value(run.consumer._flow.epochs.read(PLACE) == _RECORDS), what="how far it is is noted")
        port = broker.node.port
        before = (await describe_topics(broker.settings.bootstrap_servers, [FEEDBACK.name])).leaders
        broker.node.kill()
        broker.cut()
        elsewhere = broker.start_elsewhere()
        await send(elsewhere, new)
        broker.node.kill()
        broker.node.port = port
        broker.start()

        async def arrived() -> bool:
            return set(new) <= set(await run.sink.values())

        await apoll(arrived, timeout=_HEALTHY_SECONDS, what="what took the place of lost records arrives, too")
        assert run.counted("gaps") == 1
        assert run.sink.gaps == {LOST}
        assert await epoch_ends(broker.settings.bootstrap_servers, {PLACE: before[PLACE]}) == {PLACE: _KEPT}


async def test_a_consumer_that_was_away_all_the_while_finds_out(broker: Log, redis: Redis):
    await ensure_topics(broker.settings)
    new = [b"new-%02d" % number for number in range(_RECORDS)]
    async with running(broker.settings, redis, "test.away") as run:
        await send(broker.settings, OLD)
        await run.has(*OLD)
        await apoll(lambda: _value(run.consumer._flow.epochs.read(PLACE) == _RECORDS), what="how far it is is noted")
    broker.node.kill()
    broker.cut()
    broker.start()
    await send(broker.settings, new)
    async with running(broker.settings, redis, "test.away") as again:
        await again.has(*OLD, *new)
        assert again.counted("gaps") == 1
        assert again.sink.gaps == {LOST}


async def test_a_broker_that_only_started_again_is_no_gap(broker: Log, redis: Redis):
    await ensure_topics(broker.settings)
    async with running(broker.settings, redis) as run:
        await send(broker.settings, OLD)
        await run.has(*OLD)
        before = (await describe_topics(broker.settings.bootstrap_servers, [FEEDBACK.name])).leaders[PLACE]
        broker.node.kill()
        broker.start()
        await send(broker.settings, [b"new"])

        async def arrived() -> bool:
            return b"new" in await run.sink.values()

        await apoll(arrived, timeout=_HEALTHY_SECONDS, what="what is new arrives")
        after = (await describe_topics(broker.settings.bootstrap_servers, [FEEDBACK.name])).leaders[PLACE]
        assert after.epoch > before.epoch

        async def noted() -> bool:
            return not run.consumer._flow.epochs.ended({PLACE: after})

        await apoll(noted, timeout=15, what="the new leader is noted")
        assert run.counted("gaps") == 0
        assert run.sink.gaps == set()
        assert sorted(set(await run.sink.values())) == sorted([*OLD, b"new"])


async def _value(value: object) -> object:
    return value
