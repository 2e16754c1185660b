"""Records of the log as tuples of three, for whoever reads millions of them.

aiokafka makes an object of eleven fields of each record, which Python's collector then follows: more than half of what
it costs to take one out of its batch (`python -m tests.bench records` prints both). It has no setting for that. So a
consumer that is given `as_it_is` to read its values with gets tuples instead; every other consumer of the process gets
what it always got.

What is replaced is a private method of aiokafka, therefore the one file that does it: a test holds both equal.
"""

from typing import Any, Final

from aiokafka.consumer.fetcher import PartitionRecords

# Offset, timestamp (ms), value. Topic and partition are those of the fetch.
LightRecord = tuple[int, int, bytes | None]


def as_it_is(value: bytes | None) -> bytes | None:
    """Give it to an AIOKafkaConsumer as its `value_deserializer` to get LightRecords from it."""
    return value


_whole: Final[Any] = PartitionRecords._consumer_record


def _record(records: Any, tp: Any, record: Any) -> Any:
    if records._value_deserializer is as_it_is:
        return record.offset, record.timestamp, record.value
    return _whole(records, tp, record)


PartitionRecords._consumer_record = _record
