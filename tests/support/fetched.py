"""What aiokafka makes of a batch of the log, without a broker."""

from collections.abc import Callable, Iterable
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

BATCH_BYTES = 64 << 20
MAGIC = 2

Line = tuple[bytes | None, bytes | None]


def batch_of(lines: Iterable[Line], timestamp: int = 0) -> bytes:
    """Keys and values as one uncompressed batch of the log, from offset 0 on."""
    builder = DefaultRecordBatchBuilder(MAGIC, 0, 0, -1, -1, -1, BATCH_BYTES)
    for offset, (key, value) in enumerate(lines):
        assert builder.append(offset, timestamp, key, value, [("x", b"1")]) is not None, "the batch is full"
    return bytes(builder.build())


def records_of(batch: bytes, value_deserializer: Callable[[bytes | None], Any] | None = None) -> Iterable[Any]:
    """The records of a batch as a consumer with this deserializer hands them out."""
    tp = TopicPartition("t", 3)
    return PartitionRecords(tp, MemoryRecords(batch), None, 0, None, value_deserializer, True, READ_UNCOMMITTED)
