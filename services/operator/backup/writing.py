"""Appending records as they were: one batch of a partition at a time, so that their order is the order of the files."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaProducer

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
        plain = producer(settings, max_batch_size=BATCH_BYTES)
        compressed = producer(
            settings, max_batch_size=LARGEST_BYTES, max_request_size=LARGEST_BYTES, compression_type="gzip"
        )
        await plain.start()
        try:
            await compressed.start()
            try:
                yield cls(plain, compressed)
            finally:
                await compressed.stop()
        finally:
            await plain.stop()

    async def append(self, topic: str, partition: int, rows: Sequence[Row]) -> None:
        """Return when all are acknowledged. Raises aiokafka's KafkaError; then a first part of them may be there."""
        at = 0
        while at < len(rows):
            chosen = self._compressed if _size(rows[at]) > BATCH_BYTES else self._plain
            batch = chosen.create_batch()
            count = _fill(batch, rows, at, one=chosen is self._compressed)
            if not count:
                raise ValueError(f"the record {rows[at].offset} of {topic}/{partition} is too large for a batch")
            await (await chosen.send_batch(batch, topic, partition=partition))
            at += count


def _fill(batch: Any, rows: Sequence[Row], at: int, *, one: bool) -> int:
    """Put records from `at` on into a batch, as many as fit; how many those are."""
    last = at + 1 if one else len(rows)
    for number in range(at, last):
        row = rows[number]
        if number > at and _size(row) > BATCH_BYTES:
            return number - at
        if batch.append(timestamp=row.timestamp, key=row.key, value=row.value, headers=list(row.headers)) is None:
            return number - at
    return last - at


def _size(row: Row) -> int:
    return len(row.key or b"") + len(row.value or b"") + sum(len(n) + len(v or b"") + 8 for n, v in row.headers) + 64
