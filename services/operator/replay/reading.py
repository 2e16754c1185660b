"""Partitions read with a consumer of its own (no group), folded, and flushed into one generation with their marks.

What lies behind is read one partition after the other: all that is held is then of the few users of one partition, and
a script call for each user is what a flush costs the store (nearly half of it, for eight partitions of 125,000
records).
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import RedisError

from contracts.topics import PLAYLISTS
from services.common.kafka.consuming.committed import LOG_OUTAGES
from services.common.kafka.consuming.light import LightRecord, as_it_is
from services.common.kafka.consuming.metrics import ConsumerMetrics
from services.common.kafka.consuming.positions import Position, place
from services.common.kafka.consuming.retry import OutageTooLong, RetryPolicy, Stopping
from services.common.process.priority import give_way
from services.common.redis import REDIS_OUTAGES
from services.operator.pacing import Pace
from services.operator.replay.folding import Held, calls_of
from services.operator.replay.job import FIELDS_A_RECORD, Job, Partition, Report
from services.profiles.shards import PartitionShards
from services.profiles.store import MergeCall, ProfileStore
from services.profiles.writes import FIELDS_A_PLAYLIST

_FETCH_BYTES = 1 << 22
_AT_ONCE = 2_000
# Two milliseconds' worth; others get a chance after each.
_A_STRETCH = 300
_HOLD_SECONDS = 10.0
# What has caught up follows others who write: the end of the log is never quite reached.
_FOLLOW_SECONDS = 0.5
# It lets the log gather for so long before it asks again: a fetch costs the log's host, the store and us the same for
# one record as for many, and as long as nobody reads the generation nobody is in a hurry.
_GATHER_SECONDS = 0.1
# A turn that brings nothing for so long is over: the log may end before where it was seen to (compaction, a lost tail).
_TURN_SECONDS = 1.0
# As many are tried again together after an outage, and counted together for the pace of writes.
_CALLS_A_TRIP = 32
# What a trip takes counts for the pace of writes; more than that is not made up for.
_TRIP_SECONDS = 0.05
_PATIENCE_SECONDS = 120.0
_OUTAGES = (OutageTooLong, KafkaError, RedisError, ConnectionError, LookupError, OSError)


class Reader:
    """One job. `await start()`, then `await run()` until it is done or `stop()` was called; `report()` at any time.

    What it holds is bounded by `hold_records` (a playlist counts for ten), however long the log is. Raises
    OutageTooLong when log or store stay away: whatever was flushed has its mark, and the same job goes on from there.
    """

    def __init__(self, job: Job, redis: Redis) -> None:
        self._job = job
        self._store = ProfileStore(redis, job.generation, unread=True)
        self._shards = PartitionShards()
        self._stopping = asyncio.Event()
        self._retry_policy = RetryPolicy(
            "replay", _PATIENCE_SECONDS, self._stopping, ConsumerMetrics(CollectorRegistry(), "replay")
        )
        self._consumer: Any = AIOKafkaConsumer(
            bootstrap_servers=job.kafka.bootstrap_servers,
            client_id="animusic-replay",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_FETCH_BYTES,
            value_deserializer=as_it_is,
        )
        self._partitions = {TopicPartition(p.topic, p.partition): p for p in job.partitions}
        for partition in job.partitions:
            self._shards.take_in(partition.assignment.name, partition.shards)
        self._positions: dict[TopicPartition, Position[None]] = {}
        # What lies behind and has not been read yet, in the order in which it is; only the first is fetched.
        self._turns: deque[TopicPartition] = deque()
        self._turn_moved_at = time.monotonic()
        self._held: dict[TopicPartition, Held] = {}
        self._held_records = 0
        self._flushed_at = time.monotonic()
        self._flushing: asyncio.Task[None] | None = None
        self._records = self._poison = 0
        self._gathers = True
        self._gaps: list[str] = []
        self._pace = Pace(job.rate)
        # Else a hold of ten seconds would come to the store at once.
        self._written = Pace(job.rate and FIELDS_A_RECORD * job.rate, burst_seconds=_TRIP_SECONDS)
        self._log = logging.getLogger("animusic.replay")

    # ---- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Stand at the generation's marks. Raises redis.exceptions.RedisError, aiokafka's KafkaError."""
        await self._consumer.start()
        self._consumer.assign(list(self._partitions))
        self._consumer.pause(*self._partitions)
        await self._place(self._partitions)

    async def run(self) -> None:
        """Read until every partition is at its `until`, or until `stop()`; then flush what is held."""
        while not self._stopping.is_set() and not self.done:
            batches = await self._retry_policy.retry("the log", self._fetch, LOG_OUTAGES)
            taken = 0
            for tp, records in batches.items():
                taken += await self._take(tp, records)
            await self._end_turn_if_over(bool(batches))
            await self._flush_if_due()
            await self._pace.keep(taken)
            if self._gathers and not self._turns and not self.done:
                await self._let_gather()
        if not self._stopping.is_set():
            await self._flush()
        await self._flushed()

    def stop(self) -> None:
        """Ask for the end; what is held is left, its marks say so."""
        self._stopping.set()

    def hurry(self) -> None:
        """Take each record as it comes from now on: listeners are about to read the generation."""
        self._gathers = False

    async def close(self) -> None:
        """Hang up."""
        await self._consumer.stop()

    async def whole(self) -> Report:
        """All of its life. Its last report; what could not be waited for is told there, not raised."""
        try:
            await self.start()
            with contextlib.suppress(Stopping):
                await self.run()
            return self.report()
        except _OUTAGES as error:
            return Report(error=str(error) or type(error).__name__)
        finally:
            await self.close()

    @property
    def done(self) -> bool:
        """Whether every partition was read to its end."""
        return all(p.until is not None and self._next(tp) >= p.until for tp, p in self._partitions.items())

    def report(self) -> Report:
        """How far it is."""
        # What has not been placed yet has no end that the client would know.
        ends = {self._partitions[tp].field: self._consumer.highwater(tp) or 0 for tp in self._positions}
        return Report(
            positions={self._partitions[tp].field: self._stored(position) for tp, position in self._positions.items()},
            read={self._partitions[tp].field: position.next for tp, position in self._positions.items()},
            ends=ends,
            records=self._records,
            poison=self._poison,
            gaps=tuple(self._gaps),
            memory=psutil.Process().memory_info().rss,
            done=self.done and not self._held_records and self._flushing is None,
        )

    def _stored(self, position: Position[None]) -> int:
        nothing_held = not position.moved and self._flushing is None
        return position.next if nothing_held else position.after

    # ---- places -------------------------------------------------------------------------------------------------

    async def _place(self, partitions: dict[TopicPartition, Partition]) -> None:
        """Go to the store's marks; where it has none, to the start that the job names."""
        assignments = [p.assignment for p in partitions.values()]
        stored = await self._passes("the store", self._store.marks, REDIS_OUTAGES)
        marks = self._shards.lowest(assignments, stored)
        starts = await self._consumer.beginning_offsets(list(partitions))
        ends = await self._consumer.end_offsets(list(partitions))
        for tp, partition in partitions.items():
            start = max(starts[tp], partition.start or 0)
            position: Position[None]
            position, trouble = place(partition.assignment, marks[partition.assignment.name], start, ends[tp])
            if trouble:
                self._gap(tp, trouble)
            # Where the store knows nothing yet, a mark is written even if there is nothing to read.
            position.moved = marks[partition.assignment.name] is None
            self._positions[tp] = position
            self._held[tp] = Held(tp.topic)
            self._consumer.seek(tp, position.next)
        self._turns = deque(tp for tp, p in self._partitions.items() if self._next(tp) < p.end)
        self._give_turn()

    def _give_turn(self) -> None:
        """Fetch the first of those that lie behind, or whatever is still to be followed when none does."""
        unfinished = [tp for tp, p in self._partitions.items() if p.until is None or self._next(tp) < p.until]
        fetched = [self._turns[0]] if self._turns else unfinished
        self._consumer.pause(*(tp for tp in self._partitions if tp not in fetched))
        self._consumer.resume(*fetched)
        self._turn_moved_at = time.monotonic()

    async def _end_turn_if_over(self, moved: bool) -> None:
        if not self._turns:
            return
        now = time.monotonic()
        if moved:
            self._turn_moved_at = now
        tp = self._turns[0]
        if self._next(tp) < self._partitions[tp].end and now - self._turn_moved_at < _TURN_SECONDS:
            return
        self._turns.popleft()
        self._give_turn()
        coming = _weight(self._turns[0], self._partitions[self._turns[0]].size) if self._turns else 0
        if self._held_records and self._held_records + coming > self._job.hold_records:
            await self._flush()

    async def _let_gather(self) -> None:
        """Ask for nothing for a moment: the client fetches ahead otherwise, each record as it comes."""
        self._consumer.pause(*self._partitions)
        await asyncio.sleep(_GATHER_SECONDS)
        self._give_turn()

    async def _passes(self, what: str, call: Callable[[], Any], outages: tuple[type[Exception], ...]) -> Any:
        return await self._retry_policy.retry(what, call, outages)

    def _gap(self, tp: TopicPartition, trouble: str) -> None:
        sentence = f"{tp.topic}/{tp.partition}: {trouble}"
        if sentence not in self._gaps:
            self._gaps.append(sentence)
            self._log.error("gap in %s", sentence)

    def _next(self, tp: TopicPartition) -> int:
        position = self._positions.get(tp)
        return position.next if position else 0

    # ---- records ------------------------------------------------------------------------------------------------

    async def _fetch(self) -> dict[TopicPartition, list[LightRecord]]:
        found: dict[TopicPartition, list[LightRecord]] = await self._consumer.getmany(
            timeout_ms=50, max_records=min(_AT_ONCE, self._job.hold_records)
        )
        return found

    async def _take(self, tp: TopicPartition, records: list[LightRecord]) -> int:
        position, until = self._positions[tp], self._partitions[tp].until
        first, last = records[0][0], records[-1][0]
        verdict = position.judge(first)
        if verdict == "ask again":
            position.jumped = True
            self._consumer.seek(tp, position.next)
            return 0
        if verdict == "went back":
            records = [record for record in records if record[0] >= position.next]
        elif first > position.next:
            await self._look_at_hole(tp, position, first)
        if until is not None and records and last >= until:
            records = [record for record in records if record[0] < until]
            self._consumer.pause(tp)
            position.next = max(position.next, until)
            position.moved = True
        if records:
            self._fold(tp, position, records)
        return len(records)

    def _fold(self, tp: TopicPartition, position: Position[None], records: Sequence[LightRecord]) -> None:
        for start in range(0, len(records), _A_STRETCH):
            self._poison += self._held[tp].add(records[start : start + _A_STRETCH])
            give_way()
        self._records += len(records)
        self._held_records += _weight(tp, len(records))
        position.take([], max(position.next, records[-1][0] + 1))

    async def _look_at_hole(self, tp: TopicPartition, position: Position[None], offset: int) -> None:
        starts = await self._consumer.beginning_offsets([tp])
        if starts[tp] > position.next:
            self._gap(tp, f"offsets {position.next} to {offset - 1} expired before they were read")

    # ---- flushes ------------------------------------------------------------------------------------------------

    async def _flush_if_due(self) -> None:
        if not any(position.moved for position in self._positions.values()):
            return
        late = time.monotonic() - self._flushed_at > (_HOLD_SECONDS if self._turns else _FOLLOW_SECONDS)
        if late or self._held_records >= self._job.hold_records or self._at_end():
            await self._flush()

    def _at_end(self) -> bool:
        """Whether nothing is left to read just now: then what is held need not wait for more."""
        return not self._turns and all(
            self._next(tp) >= (self._consumer.highwater(tp) or 0) or self._next(tp) >= (p.until or 1 << 62)
            for tp, p in self._partitions.items()
        )

    async def _flush(self) -> None:
        """Hand what is held to a flush that goes on while more is read; one at a time, in the order of the log."""
        await self._flushed()
        moved = {tp: position for tp, position in self._positions.items() if position.moved}
        calls: list[MergeCall] = []
        for tp, position in moved.items():
            name, writes = self._partitions[tp].assignment.name, self._held[tp].by_shard()
            position.moved = False
            # A shard that no mark of ours covers: read again from the start, so that its mark is true.
            if self._shards.take_in(name, writes):
                await self._place({tp: self._partitions[tp]})
                continue
            calls += calls_of(name, position.after, position.next, self._shards.of(name), writes)
        self._held_records = 0
        self._flushed_at = time.monotonic()
        uptos = {tp: position.next for tp, position in moved.items() if self._positions[tp] is position}
        self._flushing = asyncio.create_task(self._write(calls, uptos))

    async def _flushed(self) -> None:
        """Wait for the flush under way."""
        if self._flushing is not None:
            flushing, self._flushing = self._flushing, None
            await flushing

    async def _write(self, calls: list[MergeCall], uptos: dict[TopicPartition, int]) -> None:
        refused: set[str] = set()
        for at in range(0, len(calls), _CALLS_A_TRIP):
            trip = calls[at : at + _CALLS_A_TRIP]
            answers = await self._passes("the store", partial(self._store.merge, trip), REDIS_OUTAGES)
            refused |= {field for _, field in answers}
            await self._written.keep(sum(call.writes.size for call in trip))
        for tp, upto in uptos.items():
            if self._partitions[tp].field not in refused:
                self._positions[tp].after = upto
        if refused:
            self._log.warning("the store is behind us (wiped or restored?): reading again from its marks")
            await self._place({tp: p for tp, p in self._partitions.items() if p.field in refused})


def _weight(tp: TopicPartition, records: int) -> int:
    """What so many records are worth of `hold_records`."""
    return records * (FIELDS_A_PLAYLIST if tp.topic == PLAYLISTS.name else 1)
