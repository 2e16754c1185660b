"""Counts what the feedback topic holds by reading it, and appends the count to the ledger's topic.

It counts independently: it knows neither the gateway's entries nor what ClickHouse has. It goes on from what the
ledger has; a record that is no event is counted apart, since it is among the dead letters.
"""

import asyncio
import logging
import time
from typing import Any, Final
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import ValidationError
from redis.asyncio import Redis

from contracts.events import EARLIEST_MS, read_event
from contracts.ledger import MOST_SPANS, Ranges, Tally
from contracts.topics import FEEDBACK, LEDGER
from services.common.kafka import partition_ids, producer, topic_ids
from services.common.process.clock import now_ms
from services.common.settings import Settings
from services.operator.readers.clickhouse import ClickhouseReader
from services.operator.readers.log import Offsets
from services.operator.readers.redis import ProfilesReader

log = logging.getLogger(__name__)

# A batch is read without a pause, and the synthetic listener waits meanwhile: 200 events take some milliseconds.
_BATCH_RECORDS: Final = 200
_TALLY_RECORDS: Final = 100_000
# A tally is appended this often without new records, too: it shows that the count is current.
_REPORT_SECONDS: Final = 60.0
_POSITIONS: Final = (
    "SELECT `partition`, max(upto) AS upto FROM animusic.ledger_spans "
    "WHERE source = 'topic' AND topic_id = {id:String} GROUP BY `partition`"
)
_WAREHOUSE_MARK: Final = "SELECT max(mark) AS mark FROM animusic.marks WHERE topic_id = {id:String}"


class NotYet(Exception):
    """Counting cannot begin yet; `str()` says why."""


class TopicCounter:
    """Reads on from where the ledger is. Run one per system: two would count records twice."""

    def __init__(self, settings: Settings, warehouse: ClickhouseReader, redis: Redis) -> None:
        self.writer = f"probe-{uuid4().hex}"
        self._settings = settings
        self._warehouse = warehouse
        self._redis = redis
        self._topic_id = ""
        self._ledger_end: int | None = None
        self._next: dict[int, int] = {}
        self._reported: dict[int, int] = {}
        self._reported_at = float("-inf")
        self._consumer: AIOKafkaConsumer | None = None
        self._producer: AIOKafkaProducer | None = None

    async def close(self) -> None:
        """Close the connections to the log."""
        for part in (self._consumer, self._producer):
            if part is not None:
                await part.stop()
        self._consumer = self._producer = None

    async def count(self) -> int:
        """Read to the current end and append what was read; returns the number of records.

        Raises NotYet, KafkaError, ConnectionError, LookupError, RedisError, httpx.HTTPError or ValueError: what was
        not appended is read again.
        """
        consumer = await self._connected()
        places = [TopicPartition(FEEDBACK.name, p) for p in sorted(await partition_ids(consumer, FEEDBACK.name))]
        if set(places) != consumer.assignment():
            consumer.assign(places)
        await self._find_position(consumer)
        starts, ends = await asyncio.gather(consumer.beginning_offsets(places), consumer.end_offsets(places))
        for place in places:
            at = min(max(self._next.get(place.partition, 0), starts[place]), ends[place])
            self._next[place.partition] = at
            consumer.seek(place, at)
        log = Offsets(time.monotonic(), {FEEDBACK.name: self._topic_id}, starts, ends)
        marks = await (await ProfilesReader.live(self._redis)).marks(log)
        folded = {place.partition: marks.get(log.mark(place), 0) for place in places}
        return await self._read(consumer, ends, folded)

    async def _connected(self) -> AIOKafkaConsumer:
        if self._producer is None:
            made = producer(self._settings.kafka)
            await made.start()
            self._producer = made
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._settings.kafka.bootstrap_servers, enable_auto_commit=False,
                max_partition_fetch_bytes=256 * 1024,
            )  # fmt: skip
            await consumer.start()
            self._consumer = consumer
        return self._consumer

    async def _find_position(self, consumer: AIOKafkaConsumer) -> None:
        """At the start, and where the topic was made anew: go on from what the ledger has of this topic."""
        ids = await topic_ids(self._settings.kafka.bootstrap_servers, (FEEDBACK.name, LEDGER.name))
        if ids[FEEDBACK.name] != self._topic_id:
            self._next = await self._positions(consumer, ids)
            self._topic_id, self._ledger_end = ids[FEEDBACK.name], None

    async def _positions(self, consumer: AIOKafkaConsumer, ids: dict[str, str]) -> dict[int, int]:
        """Partition -> next offset. The warehouse must have the whole ledger first, or ranges would count twice."""
        if self._ledger_end is None:
            # The end as of the first look: what comes later are no tallies of this topic but our own.
            place = TopicPartition(LEDGER.name, 0)
            self._ledger_end = (await consumer.end_offsets([place]))[place]
        (found,) = await self._warehouse.rows(_WAREHOUSE_MARK, id=ids[LEDGER.name])
        if int(found["mark"]) < self._ledger_end:
            raise NotYet(f"the warehouse has read {found['mark']} of the ledger's first {self._ledger_end} records")
        rows = await self._warehouse.rows(_POSITIONS, id=ids[FEEDBACK.name])
        return {int(row["partition"]): int(row["upto"]) for row in rows}

    async def _read(self, consumer: AIOKafkaConsumer, ends: dict[Any, int], folded: dict[int, int]) -> int:
        ranges, read, unreported = Ranges(), 0, 0
        upto = dict(self._next)
        while any(upto[place.partition] < end for place, end in ends.items()):
            for place, records in (await consumer.getmany(timeout_ms=500, max_records=_BATCH_RECORDS)).items():
                for record in records:
                    _note(ranges, record)
                upto[place.partition] = records[-1].offset + 1
                read, unreported = read + len(records), unreported + len(records)
            if unreported >= _TALLY_RECORDS:
                await self._append_tally(ranges, upto, folded)
                unreported = 0
        if unreported or folded != self._reported or time.monotonic() - self._reported_at > _REPORT_SECONDS:
            await self._append_tally(ranges, upto, folded)
        return read

    async def _append_tally(self, ranges: Ranges, upto: dict[int, int], folded: dict[int, int]) -> None:
        spans = ranges.take()
        for first in range(0, max(len(spans), 1), MOST_SPANS):
            tally = Tally(
                kind="tally", writer=self.writer, topic=FEEDBACK.name, topic_id=self._topic_id, said_at=now_ms(),
                spans=tuple(spans[first : first + MOST_SPANS]), folded=folded,
            )  # fmt: skip
            await self.append(tally.log_value())
        self._next, self._reported, self._reported_at = dict(upto), folded, time.monotonic()

    async def append(self, value: bytes) -> None:
        """One record of the ledger. Raises KafkaError."""
        if self._producer is None:
            raise NotYet("the log has not been reached yet")
        await self._producer.send_and_wait(LEDGER.name, value, key=self.writer.encode(), partition=0)


def _note(ranges: Ranges, record: Any) -> None:
    try:
        event = read_event(record.value or b"")
    except ValidationError:
        at = max(record.timestamp, EARLIEST_MS)
        ranges.note(record.partition, at, record.offset, record.offset + 1, records=0, digest=0, unreadable=1)
        return
    number = event.event_id.int
    ranges.note(record.partition, event.received_at, record.offset, record.offset + 1, records=1, digest=number)
