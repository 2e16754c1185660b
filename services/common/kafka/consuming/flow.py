"""From fetched records to a store: admit, decode, hold, flush, rewind.

One lock covers all of it: an assignment waits for a flush under way and the other way round, so that a position is
never changed under a flush. A fetch from before a seek may still arrive; `Position.judge` sorts it out.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Generic

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

from contracts.evolution.versions import NewerSchema
from contracts.marks import MarkName
from services.common.kafka import Leaders
from services.common.kafka.consuming.committed import LOG_OUTAGES, CommittedOffsets
from services.common.kafka.consuming.dead_letters import DeadLetterLimit, DeadLetters
from services.common.kafka.consuming.metrics import ConsumerMetrics
from services.common.kafka.consuming.model import (
    Assignment,
    DecodedRecord,
    Gap,
    Poison,
    Record,
    Sink,
    Slice,
    T,
    Unflushable,
)
from services.common.kafka.consuming.positions import LeaderEpochs, Position, halves, place
from services.common.kafka.consuming.retry import RetryPolicy
from services.common.settings import KafkaSettings

STORE: Final = "the store"
LOG: Final = "the log"
# Asks the log where epochs of leaders ended; see services.common.kafka.
EpochEnds = Callable[[Leaders], Awaitable[Mapping[TopicPartition, int]]]


class Flow(Generic[T]):
    """The one path of a consumer's records. `consumer()` is the aiokafka consumer, known once it was started.

    `hold_seconds`: oldest a held record may get before it is flushed; 0 flushes each fetch. `hold_records`: most held.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        sink: Sink[T],
        consumer: Callable[[], Any],
        *,
        dead_letters: DeadLetters,
        retry_policy: RetryPolicy,
        metrics: ConsumerMetrics,
        hold_records: int,
        hold_seconds: float,
    ) -> None:
        self._sink = sink
        self._consumer = consumer
        self._dead_letters = dead_letters
        self._limit = DeadLetterLimit(settings)
        self._retry = retry_policy.retry
        self._metrics = metrics
        self._hold_records = hold_records
        self._hold_seconds = hold_seconds
        self._log = logging.getLogger(f"animusic.{sink.step}")
        self._lock = asyncio.Lock()
        self._held_since: float | None = None
        self.epochs = LeaderEpochs()
        self._committed = CommittedOffsets(settings, group, consumer, self.epochs, self._log)
        # Where each followed partition is. Not to be changed by others.
        self.positions: dict[TopicPartition, Position[T]] = {}

    @property
    def busy(self) -> bool:
        """Whether records are being taken, flushed or sought just now."""
        return self._lock.locked()

    # ---- assignment ---------------------------------------------------------------------------------------------

    async def follow(
        self, assigned: Callable[[], dict[TopicPartition, Assignment]], leaders: Leaders, epoch_ends: EpochEnds
    ) -> None:
        """Go on in what is assigned, and in nothing else, from the store's marks. What was held is read again.

        `leaders`: as the log named them before.
        """
        async with self._lock:
            assignments = assigned()
            self.positions.clear()
            self.epochs.clear()
            self._held_since = None
            marks = await self._marks(list(assignments.values()))
            await self._place({tp: (assignment, marks[assignment.name]) for tp, assignment in assignments.items()})
            if assignments:
                await self._retry(LOG, lambda: self._committed.restore_epochs(list(assignments)), LOG_OUTAGES)
            if ended := self.epochs.ended(leaders):
                await self._rewind_truncated(await self._retry(LOG, lambda: epoch_ends(ended), LOG_OUTAGES))
            self._keep_epochs(leaders)
            self._metrics.gauge("animusic_consumer_partitions", len(assignments))

    async def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Drop partitions that another process follows from now on, and their held records."""
        async with self._lock:
            for tp in partitions:
                self.positions.pop(tp, None)
            self._metrics.gauge("animusic_consumer_partitions", len(self.positions))

    async def check_store_marks(self) -> None:
        """Rewind where the store's mark is lower than what it had: it was emptied or restored meanwhile.

        A flush would notice; this notices in partitions without traffic, too.
        """
        async with self._lock:
            marks = await self._marks([position.assignment for position in self.positions.values()])
            behind = {
                tp: mark
                for tp, position in self.positions.items()
                if ((mark := marks[position.assignment.name]) or 0) < position.after
            }
            await self._rewind(behind)

    async def on_leader_change(self, leaders: Leaders, epoch_ends: EpochEnds) -> None:
        """Rewind to where the log was truncated. `leaders`: as the log named them just now.

        Raises what `epoch_ends` raises; then the next call asks again.
        """
        ended = self.epochs.ended(leaders)
        found = await epoch_ends(ended) if ended else {}
        async with self._lock:
            await self._rewind_truncated(found)
            self._keep_epochs({tp: leader for tp, leader in leaders.items() if tp not in ended or tp in found})

    async def _rewind_truncated(self, ends: Mapping[TopicPartition, int]) -> None:
        """Read again what was read behind the ends of epochs that are over."""
        for tp, end in ends.items():
            position = self.positions.get(tp)
            if position is None or end >= position.next:
                continue
            read, gaps = self.epochs.read(tp), position.gaps
            if end < read:
                self._gap(tp, f"the log was cut at {end}; what was at {end} to {read - 1} is lost, others may be there")
                gaps += (Gap(end, read),)
            else:
                self._log.info("%s/%d has another leader since offset %d: reading again from there", *tp, end)
            await self._place({tp: (position.assignment, min(position.after, end) or None)})
            if tp in self.positions:
                self.positions[tp].gaps += gaps

    def _keep_epochs(self, leaders: Leaders) -> None:
        for tp, position in self.positions.items():
            self.epochs.keep(tp, leaders.get(tp), position.next)

    async def _marks(self, assignments: Sequence[Assignment]) -> dict[MarkName, int | None]:
        return await self._retry(STORE, lambda: self._sink.marks(assignments), self._sink.outages)

    async def _place(self, wanted: dict[TopicPartition, tuple[Assignment, int | None]]) -> None:
        starts, ends = await self._bounds(list(wanted))
        for tp, (assignment, mark) in wanted.items():
            position: Position[T]
            position, trouble = place(assignment, mark, starts[tp], ends[tp])
            if trouble:
                self._gap(tp, trouble)
            self.positions[tp] = position
            self._seek(tp, position.next)

    async def _bounds(self, tps: list[TopicPartition]) -> tuple[dict[Any, int], dict[Any, int]]:
        async def ask() -> tuple[dict[Any, int], dict[Any, int]]:
            consumer = self._consumer()
            return await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)

        return await self._retry(LOG, ask, LOG_OUTAGES)

    def _seek(self, tp: TopicPartition, offset: int) -> None:
        try:
            self._consumer().seek(tp, offset)
        except IllegalStateError:
            # It was revoked meanwhile; the process that has it now starts at the store's mark.
            self.positions.pop(tp, None)

    def _gap(self, tp: TopicPartition, trouble: str) -> None:
        self._metrics.count("animusic_consumer_gaps")
        self._log.error("gap in %s/%d: %s", tp.topic, tp.partition, trouble)

    # ---- records ------------------------------------------------------------------------------------------------

    async def take(self, records: Sequence[Record]) -> None:
        """Decode fetched records of any partitions, and flush when it is time.

        Raises NewerSchema, with what came before that record held; TooManyDeadLetters, before any more are sent.
        """
        async with self._lock:
            for (topic, partition), run in itertools.groupby(records, key=lambda r: (r.topic, r.partition)):
                tp = TopicPartition(topic, partition)
                fresh = await self._admit(tp, list(run))
                if fresh:
                    await self._decode(self.positions[tp], fresh)
            await self._flush_if_due()

    async def tick(self) -> None:
        """Flush what has been held long enough."""
        async with self._lock:
            await self._flush_if_due()

    async def drain(self) -> None:
        """Flush whatever is held, and commit."""
        async with self._lock:
            await self._flush()
        await self.commit()

    async def commit(self) -> None:
        """Commit offsets as far as the store has come. Raises RuntimeError where that is never answered."""
        await self._committed.commit(self.positions)

    async def _admit(self, tp: TopicPartition, records: list[Record]) -> list[Record]:
        position = self.positions.get(tp)
        if position is None:
            return []
        offset = records[0].offset
        verdict = position.judge(offset)
        if verdict == "ask again":
            position.jumped = True
            self._seek(tp, position.next)
            return []
        if verdict == "went back":
            return await self._went_back(tp, position, records)
        if offset > position.next:
            starts, _ = await self._bounds([tp])
            if starts[tp] > position.next:
                self._gap(tp, f"offsets {position.next} to {offset - 1} expired before they had their effect")
                position.gaps += (Gap(position.next, offset),)
        return records

    async def _went_back(self, tp: TopicPartition, position: Position[T], records: list[Record]) -> list[Record]:
        """Records from before the position: read twice around a rebalance, or a log that became shorter."""
        _, ends = await self._bounds([tp])
        if ends[tp] < position.next:
            self._gap(tp, f"the log ends at {ends[tp]}, before {position.next}: it lost records; reading its start")
            await self._place({tp: (position.assignment, None)})
            if tp in self.positions:
                self.positions[tp].gaps += (Gap(ends[tp], position.next),)
            return []
        return [record for record in records if record.offset >= position.next]

    async def _decode(self, position: Position[T], records: list[Record]) -> None:
        values: list[T | Poison] = []
        newer: NewerSchema | None = None
        for record in records:
            try:
                values.append(self._sink.decode(record))
            except NewerSchema as error:
                newer = error
                break
        known = list(zip(records, values, strict=False))
        self._limit.check([value.reason if isinstance(value, Poison) else None for value in values])
        for record, value in known:
            if isinstance(value, Poison):
                await self._send_to_dlq(record, value.reason)
        if known:
            items = [DecodedRecord(record, value) for record, value in known if not isinstance(value, Poison)]
            position.take(items, known[-1][0].offset + 1)
            self._metrics.count("animusic_consumer_records", len(known))
            self._held_since = self._held_since or time.monotonic()
        if newer is not None:
            raise newer

    async def _send_to_dlq(self, record: Record, reason: str) -> None:
        self._log.error("dead letter %s/%d@%d: %s", record.topic, record.partition, record.offset, reason)
        position = self.positions.get(TopicPartition(record.topic, record.partition))
        topic_id = "" if position is None else position.assignment.name.topic_id
        await self._retry(LOG, lambda: self._dead_letters.send(record, reason, topic_id), LOG_OUTAGES)
        self._metrics.count("animusic_consumer_dead_letters")

    # ---- flush --------------------------------------------------------------------------------------------------

    async def _flush_if_due(self) -> None:
        if self._held_since is None:
            return
        old = time.monotonic() - self._held_since >= self._hold_seconds
        if old or sum(len(p.held) for p in self.positions.values()) >= self._hold_records:
            await self._flush()

    async def _flush(self) -> None:
        self._held_since = None
        slices = {tp: position.cut() for tp, position in self.positions.items() if position.moved}
        if not slices:
            return
        began = time.perf_counter()
        refused = await self._write(list(slices.values()))
        self._report(slices, time.perf_counter() - began)
        for tp, flushed in slices.items():
            if flushed.assignment.name not in refused:
                self.positions[tp].after = flushed.upto
        places = {tp: position.assignment.name for tp, position in self.positions.items()}
        await self._rewind({tp: refused[name] for tp, name in places.items() if name in refused})

    async def _write(self, slices: list[Slice[T]]) -> dict[MarkName, int | None]:
        """Flush; bisect what the store will never take, down to the one record, which becomes a dead letter."""
        try:
            result = await self._retry(STORE, lambda: self._sink.flush(slices), self._sink.outages)
        except Unflushable as fault:
            return await self._bisect(slices, fault)
        return result.refused

    async def _bisect(self, slices: list[Slice[T]], fault: Unflushable) -> dict[MarkName, int | None]:
        records = [item.record for part in slices for item in part.items]
        if not records:
            raise RuntimeError(f"the store refuses a flush without any record: {fault}") from fault
        if len(records) == 1:
            self._limit.check([str(fault)])
            await self._send_to_dlq(records[0], str(fault))
            return await self._write([replace(part, items=[]) for part in slices])
        head, tail = halves(slices)
        return {**await self._write(head), **await self._write(tail)}

    async def _rewind(self, refused: dict[TopicPartition, int | None]) -> None:
        if not refused:
            return
        self._metrics.count("animusic_consumer_refusals", len(refused))
        for tp, mark in refused.items():
            self._log.warning("the store is behind in %s/%d (emptied or restored?): reading again from %s", *tp, mark)
        await self._place({tp: (self.positions[tp].assignment, mark) for tp, mark in refused.items()})

    def _report(self, slices: dict[TopicPartition, Slice[T]], seconds: float) -> None:
        consumer = self._consumer()
        assigned = consumer.assignment()
        ends = {tp: consumer.highwater(tp) for tp in self.positions if tp in assigned}
        behind = sum(max(0, end - self.positions[tp].next) for tp, end in ends.items() if end is not None)
        self._metrics.count("animusic_consumer_flushes")
        self._metrics.observe("animusic_consumer_flush_seconds", seconds)
        self._metrics.gauge("animusic_consumer_behind", behind)
        records = sum(len(s.items) for s in slices.values())
        self._log.info(
            "flushed %d records of %d partitions in %.1f ms, %d behind", records, len(slices), seconds * 1e3, behind
        )
