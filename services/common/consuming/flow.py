"""From fetched records to a store: admit, decode, hold, flush, rewind.

One lock covers all of it: an assignment waits for a flush under way and the other way round, so that a position is
never changed under a flush. A fetch from before a seek may still arrive; `Position.judge` sorts it out.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Generic

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from contracts.marks import MarkName
from services.common.consuming.epochs import EpochEnds, Epochs, Leaders
from services.common.consuming.letters import DeadLetters
from services.common.consuming.metrics import ConsumerMetrics
from services.common.consuming.model import Claim, Lost, Poison, Record, Sink, Slice, T, Taken, Unflushable
from services.common.consuming.patience import Patience
from services.common.consuming.positions import Position, halves, place

LOG_OUTAGES: tuple[type[Exception], ...] = (KafkaError, ConnectionError, TimeoutError)
STORE: Final = "the store"
_COMMIT_EVERY_SECONDS = 1.0
_LAST_COMMIT_SECONDS = 2.0
_MOST_FLUSHES_SINCE = 30
# It is asked for ever otherwise, and nothing is read meanwhile.
_RECALL_SECONDS = 10.0


class Flow(Generic[T]):
    """The one path of a consumer's records. `consumer()` is the aiokafka consumer, known once it was started.

    `hold_seconds`: oldest a held record may get before it is flushed; 0 flushes each fetch. `hold_records`: most held.
    """

    def __init__(
        self,
        sink: Sink[T],
        consumer: Callable[[], Any],
        letters: DeadLetters,
        patience: Patience,
        metrics: ConsumerMetrics,
        *,
        hold_records: int,
        hold_seconds: float,
    ) -> None:
        self._sink = sink
        self._consumer = consumer
        self._letters = letters
        self._patience = patience
        self._metrics = metrics
        self._hold_records = hold_records
        self._hold_seconds = hold_seconds
        self._log = logging.getLogger(f"animusic.{sink.step}")
        self._lock = asyncio.Lock()
        self._positions: dict[TopicPartition, Position[T]] = {}
        self._held_since: float | None = None
        self._committed_at = 0.0
        self._committing: asyncio.Task[None] | None = None
        # Flushes, at most one a second, that found the last commit still under way.
        self._flushes_since = 0
        self._epochs = Epochs()

    @property
    def claims(self) -> dict[TopicPartition, Claim]:
        """What is followed now."""
        return {tp: position.claim for tp, position in self._positions.items()}

    @property
    def positions(self) -> Mapping[TopicPartition, Position[T]]:
        """Where each followed partition stands. Not to be changed."""
        return self._positions

    @property
    def busy(self) -> bool:
        """Whether records are being taken, flushed or sought just now."""
        return self._lock.locked()

    # ---- assignment ---------------------------------------------------------------------------------------------

    async def follow(
        self, assigned: Callable[[], dict[TopicPartition, Claim]], leaders: Leaders, ends: EpochEnds
    ) -> None:
        """Go on in what is assigned, and in nothing else, from the store's marks. What was held is read again.

        `leaders`: as the log named them before; `ends`: see kafka_epochs.
        """
        async with self._lock:
            claims = assigned()
            self._positions.clear()
            self._epochs.forget()
            self._held_since = None
            marks = await self._marks(list(claims.values()))
            await self._place({tp: (claim, marks[claim.name]) for tp, claim in claims.items()})
            await self._recall(list(claims))
            if over := self._epochs.over(leaders):
                asked = await self._patience.until_it_passes("the log", lambda: ends(over), LOG_OUTAGES)
                await self._go_back(asked)
            self._note(leaders)
            self._metrics.gauge("animusic_consumer_partitions", len(claims))

    async def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Let go of partitions that another process follows from now on; what is held of them is dropped."""
        async with self._lock:
            for tp in partitions:
                self._positions.pop(tp, None)
            self._metrics.gauge("animusic_consumer_partitions", len(self._positions))

    async def look_back(self) -> None:
        """Go back where the store's mark is lower than what it had: it was wiped or restored while nothing was said.

        A flush would notice; this one notices in partitions without traffic, too.
        """
        async with self._lock:
            marks = await self._marks([position.claim for position in self._positions.values()])
            behind = {
                tp: mark
                for tp, position in self._positions.items()
                if ((mark := marks[position.claim.name]) or 0) < position.after
            }
            await self._rewind(behind)

    async def heed(self, leaders: Leaders, ends: EpochEnds) -> None:
        """Go back to where the log was cut. `leaders`: as the log named them just now; `ends`: see kafka_epochs.

        Raises what `ends` raises; then the next call looks again.
        """
        over = self._epochs.over(leaders)
        found = await ends(over) if over else {}
        async with self._lock:
            await self._go_back(found)
            self._note({tp: leader for tp, leader in leaders.items() if tp not in over or tp in found})

    async def _go_back(self, ends: Mapping[TopicPartition, int]) -> None:
        """Read again what was read behind the ends of epochs that are over."""
        for tp, end in ends.items():
            position = self._positions.get(tp)
            if position is None or end >= position.next:
                continue
            read = self._epochs.read(tp)
            lost = position.lost
            if end < read:
                self._gap(tp, f"the log was cut at {end}; what was at {end} to {read - 1} is lost, others may be there")
                lost += (Lost(end, read),)
            else:
                self._log.info("%s/%d has another leader since offset %d: reading again from there", *tp, end)
            await self._place({tp: (position.claim, min(position.after, end) or None)})
            if tp in self._positions:
                self._positions[tp].lost += lost

    async def _recall(self, tps: list[TopicPartition]) -> None:
        """What was noted when offsets were committed last; without it a log that was cut meanwhile looks whole."""
        try:
            async with asyncio.timeout(_RECALL_SECONDS):
                found = await self._consumer()._coordinator.fetch_committed_offsets(tps)
        except LOG_OUTAGES as error:
            self._log.warning("what was committed is not known (%s): a log cut meanwhile would not be noticed", error)
            return
        for tp, committed in found.items():
            self._epochs.recall(tp, committed.metadata)

    def _note(self, leaders: Leaders) -> None:
        for tp, position in self._positions.items():
            self._epochs.note(tp, leaders.get(tp), position.next)

    async def _marks(self, claims: Sequence[Claim]) -> dict[MarkName, int | None]:
        return await self._patience.until_it_passes(STORE, lambda: self._sink.marks(claims), self._sink.outages)

    async def _place(self, wanted: dict[TopicPartition, tuple[Claim, int | None]]) -> None:
        starts, ends = await self._bounds(list(wanted))
        for tp, (claim, mark) in wanted.items():
            position: Position[T]
            position, trouble = place(claim, mark, starts[tp], ends[tp])
            if trouble:
                self._gap(tp, trouble)
            self._positions[tp] = position
            self._seek(tp, position.next)

    async def _bounds(self, tps: list[TopicPartition]) -> tuple[dict[Any, int], dict[Any, int]]:
        async def ask() -> tuple[dict[Any, int], dict[Any, int]]:
            consumer = self._consumer()
            return await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)

        return await self._patience.until_it_passes("the log", ask, LOG_OUTAGES)

    def _seek(self, tp: TopicPartition, offset: int) -> None:
        try:
            self._consumer().seek(tp, offset)
        except IllegalStateError:
            # It was taken from us meanwhile; whoever has it starts at the store's mark.
            self._positions.pop(tp, None)

    def _gap(self, tp: TopicPartition, trouble: str) -> None:
        self._metrics.count("animusic_consumer_gaps")
        self._log.error("gap in %s/%d: %s", tp.topic, tp.partition, trouble)

    # ---- records ------------------------------------------------------------------------------------------------

    async def take(self, records: Sequence[Record]) -> None:
        """Decode fetched records of any partitions, and flush when it is time."""
        async with self._lock:
            for (topic, partition), run in itertools.groupby(records, key=lambda r: (r.topic, r.partition)):
                tp = TopicPartition(topic, partition)
                fresh = await self._admit(tp, list(run))
                if fresh:
                    await self._decode(self._positions[tp], fresh)
            await self._flush_if_due()

    async def tick(self) -> None:
        """Flush what has been held long enough."""
        async with self._lock:
            await self._flush_if_due()

    async def drain(self) -> None:
        """Flush whatever is held."""
        async with self._lock:
            await self._flush()
        await self._commit_at_last()

    async def _admit(self, tp: TopicPartition, records: list[Record]) -> list[Record]:
        position = self._positions.get(tp)
        if position is None:
            return []
        verdict = position.judge(records[0].offset)
        if verdict == "take":
            if records[0].offset > position.next:
                await self._look_at_hole(tp, position, records[0].offset)
            return records
        if verdict == "ask again":
            position.jumped = True
            self._seek(tp, position.next)
            return []
        return await self._went_back(tp, position, records)

    async def _look_at_hole(self, tp: TopicPartition, position: Position[T], offset: int) -> None:
        starts, _ = await self._bounds([tp])
        if starts[tp] > position.next:
            self._gap(tp, f"offsets {position.next} to {offset - 1} expired before they had their effect")
            position.lost += (Lost(position.next, offset),)

    async def _went_back(self, tp: TopicPartition, position: Position[T], records: list[Record]) -> list[Record]:
        """Records from before the position: read twice around a rebalance, or a log that became shorter."""
        _, ends = await self._bounds([tp])
        if ends[tp] < position.next:
            self._gap(tp, f"the log ends at {ends[tp]}, before {position.next}: it lost records; reading its start")
            await self._place({tp: (position.claim, None)})
            if tp in self._positions:
                self._positions[tp].lost += (Lost(ends[tp], position.next),)
            return []
        return [record for record in records if record.offset >= position.next]

    async def _decode(self, position: Position[T], records: list[Record]) -> None:
        decode = self._sink.decode
        items: list[Taken[T]] = []
        for record in records:
            value = decode(record)
            if isinstance(value, Poison):
                await self._bury(record, value.reason)
            else:
                items.append(Taken(record, value))
        position.take(items, records[-1].offset + 1)
        self._metrics.count("animusic_consumer_records", len(records))
        if self._held_since is None:
            self._held_since = time.monotonic()

    async def _bury(self, record: Record, reason: str) -> None:
        where = f"{record.topic}/{record.partition}@{record.offset}"
        self._log.error("dead letter %s: %s", where, reason)
        topic_id = self._topic_id(record)
        await self._patience.until_it_passes(
            "the log", lambda: self._letters.send(record, reason, topic_id), LOG_OUTAGES
        )
        self._metrics.count("animusic_consumer_dead_letters")

    def _topic_id(self, record: Record) -> str:
        position = self._positions.get(TopicPartition(record.topic, record.partition))
        return "" if position is None else position.claim.name.topic_id

    # ---- flush --------------------------------------------------------------------------------------------------

    async def _flush_if_due(self) -> None:
        if self._held_since is None:
            return
        old = time.monotonic() - self._held_since >= self._hold_seconds
        if old or sum(len(p.held) for p in self._positions.values()) >= self._hold_records:
            await self._flush()

    async def _flush(self) -> None:
        self._held_since = None
        slices = {tp: position.cut() for tp, position in self._positions.items() if position.moved}
        if not slices:
            return
        began = time.perf_counter()
        refused = await self._write(list(slices.values()))
        self._say(slices, time.perf_counter() - began)
        for tp, flushed in slices.items():
            if flushed.claim.name not in refused:
                self._positions[tp].after = flushed.upto
        places = {tp: position.claim.name for tp, position in self._positions.items()}
        await self._rewind({tp: refused[name] for tp, name in places.items() if name in refused})
        self._commit_now_and_then()

    async def _write(self, slices: list[Slice[T]]) -> dict[MarkName, int | None]:
        """Flush; bisect what the store will never take, down to the one record, which becomes a dead letter."""
        try:
            result = await self._patience.until_it_passes(STORE, lambda: self._sink.flush(slices), self._sink.outages)
        except Unflushable as fault:
            return await self._bisect(slices, fault)
        return result.refused

    async def _bisect(self, slices: list[Slice[T]], fault: Unflushable) -> dict[MarkName, int | None]:
        records = [item.record for part in slices for item in part.items]
        if not records:
            raise RuntimeError(f"the store refuses a flush without any record: {fault}") from fault
        if len(records) == 1:
            await self._bury(records[0], str(fault))
            return await self._write([replace(part, items=[]) for part in slices])
        head, tail = halves(slices)
        return {**await self._write(head), **await self._write(tail)}

    async def _rewind(self, refused: dict[TopicPartition, int | None]) -> None:
        if not refused:
            return
        self._metrics.count("animusic_consumer_refusals", len(refused))
        for tp, mark in refused.items():
            self._log.warning("the store is behind us in %s/%d (wiped or restored?): reading again from %s", *tp, mark)
        await self._place({tp: (self._positions[tp].claim, mark) for tp, mark in refused.items()})

    def _say(self, slices: dict[TopicPartition, Slice[T]], seconds: float) -> None:
        self._metrics.count("animusic_consumer_flushes")
        self._metrics.observe("animusic_consumer_flush_seconds", seconds)
        behind = self._behind()
        self._metrics.gauge("animusic_consumer_behind", behind)
        records = sum(len(s.items) for s in slices.values())
        self._log.info(
            "flushed %d records of %d partitions in %.1f ms, %d behind", records, len(slices), seconds * 1e3, behind
        )

    def _behind(self) -> int:
        consumer = self._consumer()
        assigned = consumer.assignment()
        ends = {tp: consumer.highwater(tp) for tp in self._positions if tp in assigned}
        return sum(max(0, end - self._positions[tp].next) for tp, end in ends.items() if end is not None)

    def _commit_now_and_then(self) -> None:
        """Nothing waits for a commit: while a group has no coordinator aiokafka asks for one, for ever.

        Raises RuntimeError when it still asks after many flushes: the log is there, so that client is not to be helped.
        """
        now = time.monotonic()
        if now - self._committed_at <= _COMMIT_EVERY_SECONDS:
            return
        self._committed_at = now
        if self._committing is not None and not self._committing.done():
            self._flushes_since += 1
            if self._flushes_since > _MOST_FLUSHES_SINCE:
                raise RuntimeError("the client of Kafka does not find its group's coordinator, though it reads the log")
            return
        self._flushes_since = 0
        self._committing = asyncio.create_task(self._commit())

    async def _commit_at_last(self) -> None:
        try:
            async with asyncio.timeout(_LAST_COMMIT_SECONDS):
                if self._committing is not None:
                    await self._committing
                await self._commit()
        except TimeoutError:
            self._log.info("offsets not committed in time; the store's marks count")

    async def _commit(self) -> None:
        """Tell Kafka how far the store is, for lag tools and for `_recall`; a failure is worth a line and no more."""
        after = {tp: position.after for tp, position in self._positions.items() if position.after}
        offsets = {tp: (offset, self._epochs.words(tp)) for tp, offset in after.items()}
        try:
            if offsets:
                await self._consumer().commit(offsets)
        except (KafkaError, IllegalStateError) as error:
            self._log.info("offsets not committed (%s); the store's marks count", type(error).__name__)
