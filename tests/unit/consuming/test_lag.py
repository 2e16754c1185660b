"""How far a consumer is behind."""

from types import SimpleNamespace

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from contracts.marks import MarkName
from services.common.kafka.consuming.metrics import LagMeter
from services.common.kafka.consuming.model import Assignment, DecodedRecord
from services.common.kafka.consuming.positions import Position
from services.common.process.clock import now_ms


def test_lag_is_told_by_partition_whenever_somebody_asks():
    tp = TopicPartition("t", 3)
    record = SimpleNamespace(timestamp=now_ms() - 4_000)
    position = Position(Assignment(MarkName("a" * 32, 3), "t", 4), 0, 10)
    consumer = SimpleNamespace(assignment=lambda: {tp}, highwater=lambda _: 10)
    registry = CollectorRegistry()
    meter = LagMeter(registry, "test", lambda: consumer, {tp: position})
    assert meter.summary() == {"partitions": 1, "lag": 0, "oldest_seconds": 0.0}
    position.take([DecodedRecord(record, "x")], 11)
    consumer.highwater = lambda _: 14
    assert meter.summary()["lag"] == 4
    assert 4.0 <= meter.summary()["oldest_seconds"] < 30
    place = {"step": "test", "topic": "t", "partition": "3"}
    assert registry.get_sample_value("animusic_consumer_lag", place) == 4.0
    flushing = position.cut()
    assert meter.summary()["lag"] == 4
    assert 0.0 <= meter.summary()["oldest_seconds"] < 30
    position.after = flushing.upto
    assert meter.summary()["lag"] == 3


async def test_lag_grows_while_nothing_is_fetched():
    tp = TopicPartition("t", 3)
    position = Position(Assignment(MarkName("a" * 32, 3), "t", 4), 0, 10)

    async def end_offsets(_: object) -> dict[TopicPartition, int]:
        return {tp: 25}

    consumer = SimpleNamespace(assignment=set, highwater=lambda _: 1 / 0, end_offsets=end_offsets)
    meter = LagMeter(CollectorRegistry(), "test", lambda: consumer, {tp: position})
    assert meter.summary()["lag"] == 0
    await meter.measure()
    assert meter.summary()["lag"] == 15
