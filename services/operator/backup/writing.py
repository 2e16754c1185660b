"""Appends records to the log, one batch of a partition at a time, in the order of the files."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition

from services.common.kafka import producer
from services.common.settings import KafkaSettings
from services.operator.backup.files import Row

# The broker takes batches up to 1,048,588 bytes.
BATCH_BYTES: Final = 900_000
# A record above that came compressed (an anime list of 20,000 entries), and goes back so; it is a batch of its own.
LARGEST_BYTES: Final = 16 << 20


class Writer:
    """Two idempotent producers, plain and compressed; both wait for all in-sync copies."""

    def __init__(self, plain: AIOKafkaProducer, compressed: AIOKafkaProducer) -> None:
        self._plain = plain
        self._compressed = compressed

    @classmethod
    @asynccontextmanager
    async def started(cls, settings: KafkaSettings) -> AsyncIterator["Writer"]:
        """A writer while the block runs."""
        large = {"max_batch_size": LARGEST_BYTES, "max_request_size": LARGEST_BYTES, "compression_type": "gzip"}
        plain, compressed = producer(settings, max_batch_size=BATCH_BYTES), producer(settings, **large)
        async with plain, compressed:
            yield cls(plain, compressed)

    async def append(self, tp: TopicPartition, rows: Sequence[Row]) -> None:
        """Return when all are acknowledged. Raises aiokafka's KafkaError; then a first part of them may be there."""
        at = 0
        while at < len(rows):
            large = _size(rows[at]) > BATCH_BYTES
            chosen = self._compressed if large else self._plain
            batch = chosen.create_batch()
            count = _fill(batch, rows[at : at + 1] if large else rows[at:])
            if not count:
                raise ValueError(f"the record {rows[at].offset} of {tp.topic}/{tp.partition} is too large for a batch")
            await (await chosen.send_batch(batch, tp.topic, partition=tp.partition))
            at += count


def _fill(batch: Any, rows: Sequence[Row]) -> int:
    """Put records into a batch, as many as fit, up to the next large one; how many those are."""
    for number, row in enumerate(rows):
        if number and _size(row) > BATCH_BYTES:
            return number
        if batch.append(timestamp=row.timestamp, key=row.key, value=row.value, headers=list(row.headers)) is None:
            return number
    return len(rows)


def _size(row: Row) -> int:
    return len(row.key or b"") + len(row.value or b"") + sum(len(n) + len(v or b"") + 8 for n, v in row.headers) + 64
