"""Partitions read with a consumer of its own (no group) into a sink, from the sink's high-water marks on."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Mapping
from typing import Any, Final, Generic

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import CollectorRegistry

from contracts.marks import MarkName
from services.common.kafka.consuming.committed import LOG_OUTAGES
from services.common.kafka.consuming.metrics import ConsumerMetrics
from services.common.kafka.consuming.model import DecodedRecord, Poison, Record, Sink, Slice, T, Unflushable
from services.common.kafka.consuming.positions import Position, halves, place
from services.common.kafka.consuming.retry import RetryPolicy
from services.rebuild.job import Job, Report
from services.rebuild.pacing import Pace

_FETCH_BYTES: Final = 1 << 22
_AT_ONCE: Final = 2_000
# A broker answers a fetch when it has so much, or after so long: what has caught up is not read record by record.
_GATHERED_BYTES: Final = 1 << 18
_GATHER_MS: Final = 50
_IDLE_SECONDS: Final = 0.5
_HOLD_SECONDS: Final = 5.0
_HOLD_BYTES: Final = 64 << 20
_OUTAGE_SECONDS: Final = 120.0


class Reader(Generic[T]):
    """One job. `await run()`; `report()` at any time.

    What it holds is bounded by `hold_records` and by 64 MiB of their values, however long the log is.
    """

    def __init__(self, job: Job, sink: Sink[T]) -> None:
        self._job = job
        self._sink = sink
        self._outages = RetryPolicy(
            "rebuild", _OUTAGE_SECONDS, asyncio.Event(), ConsumerMetrics(CollectorRegistry(), "rebuild")
        )
        self._consumer: Any = AIOKafkaConsumer(
            bootstrap_servers=job.kafka.bootstrap_servers,
            client_id="animusic-rebuild",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_FETCH_BYTES,
            fetch_min_bytes=_GATHERED_BYTES,
            fetch_max_wait_ms=_GATHER_MS,
        )
        self._partitions = {TopicPartition(p.topic, p.partition): p for p in job.partitions}
        self._limits = dict(job.limits)
        self._limits_changed = asyncio.Event()
        self._positions: dict[TopicPartition, Position[T]] = {}
        self._held_records = self._held_bytes = 0
        self._flushed_at = time.monotonic()
        self._flushing = False
        self._records = self._poison = 0
        self._gaps: list[str] = []
        self._pace = Pace(job.rate)
        # What is flushed at once is read in about a second: the store keeps the pace, too.
        self._hold_records = min(job.hold_records, int(job.rate or job.hold_records) or 1)
        self._log = logging.getLogger("animusic.rebuild")

    async def run(self, *, follow: bool = True) -> None:
        """Read until this is cancelled; without `follow`, until every partition was read to its limit and is flushed.

        Raises OutageTooLong when the log or the store does not answer: the same job goes on from what was flushed.
        aiokafka's KafkaError and the sink's own errors otherwise.
        """
        await self._consumer.start()
        try:
            self._consumer.assign(list(self._partitions))
            await self._place(self._partitions)
            while follow or not self._at_limits():
                fetched = await self._outages.retry("the log", self._fetch, LOG_OUTAGES)
                taken = sum([await self._take(tp, records) for tp, records in fetched.items()])
                await self._flush_if_due()
                await self._pace.keep(taken)
            await self._flush()
        finally:
            await self._consumer.stop()

    def limit(self, limits: Mapping[str, int]) -> None:
        """Read on up to here."""
        self._limits = dict(limits)
        self._limits_changed.set()

    def report(self) -> Report:
        """How far it is."""
        process, positions = psutil.Process(), {self._partitions[tp].field: p for tp, p in self._positions.items()}
        return Report(
            positions={field: p.after if p.moved or self._flushing else p.next for field, p in positions.items()},
            read={field: position.next for field, position in positions.items()},
            ends={self._partitions[tp].field: self._consumer.highwater(tp) or 0 for tp in self._positions},
            records=self._records,
            poison=self._poison,
            gaps=tuple(self._gaps),
            memory=process.memory_info().rss,
            cpu_seconds=time.process_time(),
        )

    # ---- places -------------------------------------------------------------------------------------------------

    async def _place(self, wanted: Collection[TopicPartition]) -> None:
        """Go to the sink's marks in these partitions; where it has none, to the start that the job names."""
        assignments = [self._partitions[tp].assignment for tp in wanted]
        marks = await self._outages.retry("the store", lambda: self._sink.marks(assignments), self._sink.outages)
        starts, ends = await self._outages.retry("the log", lambda: self._bounds(list(wanted)), LOG_OUTAGES)
        for tp in wanted:
            partition = self._partitions[tp]
            mark = marks[partition.assignment.name]
            start = max(starts[tp], partition.start or 0)
            position: Position[T]
            position, trouble = place(partition.assignment, mark, start, ends[tp])
            if trouble:
                self._gap(tp, trouble)
            # Where the store has no mark one is written, even if there is nothing to read.
            position.moved = mark is None
            self._positions[tp] = position
            self._consumer.seek(tp, position.next)

    async def _bounds(self, tps: list[TopicPartition]) -> tuple[dict[Any, int], dict[Any, int]]:
        return await self._consumer.beginning_offsets(tps), await self._consumer.end_offsets(tps)

    def _limit(self, tp: TopicPartition) -> int | None:
        return self._limits.get(self._partitions[tp].field)

    def _at_limit(self, tp: TopicPartition) -> bool:
        limit = self._limit(tp)
        return limit is not None and self._positions[tp].next >= limit

    def _at_limits(self) -> bool:
        return all(map(self._at_limit, self._positions))

    def _at_end(self) -> bool:
        """Whether nothing is left to read just now: then what is held need not wait for more."""
        return all(
            self._at_limit(tp) or position.next >= (self._consumer.highwater(tp) or 0)
            for tp, position in self._positions.items()
        )

    def _gap(self, tp: TopicPartition, trouble: str) -> None:
        sentence = f"{tp.topic}/{tp.partition}: {trouble}"
        if sentence not in self._gaps:
            self._gaps.append(sentence)
            self._log.error("gap in %s", sentence)

    # ---- records ------------------------------------------------------------------------------------------------

    async def _fetch(self) -> dict[TopicPartition, list[Record]]:
        there = {tp for tp in self._positions if self._at_limit(tp)}
        self._consumer.pause(*there)
        self._consumer.resume(*(self._consumer.paused() - there))
        if len(there) == len(self._positions):
            self._limits_changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._limits_changed.wait(), _IDLE_SECONDS)
            return {}
        most = min(_AT_ONCE, self._hold_records)
        found: dict[TopicPartition, list[Record]] = await self._consumer.getmany(timeout_ms=100, max_records=most)
        if not found:
            await self._step_over_holes()
        return found

    async def _step_over_holes(self) -> None:
        """The last records before a limit may have been compacted away: then the log itself goes on behind them."""
        for tp, position in self._positions.items():
            reached = await self._consumer.position(tp)
            if reached > position.next:
                position.take([], reached)

    async def _take(self, tp: TopicPartition, records: list[Record]) -> int:
        """Decode and hold what was fetched of one partition; how many records that were."""
        position, limit = self._positions[tp], self._limit(tp)
        verdict = position.judge(records[0].offset)
        if verdict == "ask again":
            position.jumped = True
            self._consumer.seek(tp, position.next)
            return 0
        if verdict == "take" and records[0].offset > position.next:
            await self._look_at_hole(tp, position, records[0].offset)
        upto = records[-1].offset + 1
        if limit is not None and upto > limit:
            upto = limit
            self._consumer.seek(tp, limit)
        fresh = [record for record in records if position.next <= record.offset < upto]
        if upto > position.next:
            position.take(self._decoded(fresh), upto)
        self._records += len(fresh)
        self._held_records += len(fresh)
        self._held_bytes += sum(len(record.value or b"") for record in fresh)
        return len(fresh)

    def _decoded(self, records: list[Record]) -> list[DecodedRecord[T]]:
        items: list[DecodedRecord[T]] = []
        decode = self._sink.decode
        for record in records:
            value = decode(record)
            if isinstance(value, Poison):
                self._poison += 1
            else:
                items.append(DecodedRecord(record, value))
        return items

    async def _look_at_hole(self, tp: TopicPartition, position: Position[T], offset: int) -> None:
        starts = await self._consumer.beginning_offsets([tp])
        if starts[tp] > position.next:
            self._gap(tp, f"offsets {position.next} to {offset - 1} expired before they were read")

    # ---- flushes ------------------------------------------------------------------------------------------------

    async def _flush_if_due(self) -> None:
        full = self._held_records >= self._hold_records or self._held_bytes >= _HOLD_BYTES
        if full or self._at_end() or time.monotonic() - self._flushed_at > _HOLD_SECONDS:
            await self._flush()

    async def _flush(self) -> None:
        moved = {tp: position for tp, position in self._positions.items() if position.moved}
        slices = {tp: position.cut() for tp, position in moved.items()}
        self._held_records = self._held_bytes = 0
        self._flushed_at = time.monotonic()
        if not slices:
            return
        self._flushing = True
        try:
            refused = await self._write(list(slices.values()))
        finally:
            self._flushing = False
        for tp, flushed in slices.items():
            if flushed.assignment.name not in refused:
                self._positions[tp].after = flushed.upto
        again = [tp for tp, p in self._partitions.items() if p.assignment.name in refused]
        if again:
            self._log.warning("the store has less than we wrote: reading %d partitions from its marks", len(again))
            await self._place(again)

    async def _write(self, slices: list[Slice[T]]) -> set[MarkName]:
        """Flush. What the store will never take is bisected down to the one record, which is left out."""
        try:
            result = await self._outages.retry("the store", lambda: self._sink.flush(slices), self._sink.outages)
        except Unflushable:
            records = sum(len(part.items) for part in slices)
            if not records:
                raise
            if records == 1:
                self._poison += 1
                return await self._write([Slice(s.assignment, s.after, s.upto, [], s.gaps) for s in slices])
            head, tail = halves(slices)
            return await self._write(head) | await self._write(tail)
        return set(result.refused)
