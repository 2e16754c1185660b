"""What happens when in a rebuild, whatever the store: read, catch up, compare, switch, hand over."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

from services.common.settings import KafkaSettings
from services.rebuild.job import Job, Partition, Report
from services.rebuild.workers import Workers

Phase = Literal["starting", "profiles.v1", "reading", "catching up", "comparing", "switching", "handing over"]
# Name of a mark -> offset before which everything is in the store.
Marks = Mapping[str, int]
_LOOK_SECONDS: Final = 0.25
_STEP_SECONDS: Final = 0.1
_RATE_SECONDS: Final = 5.0
_LOG_SECONDS: Final = 5.0
# So few records behind, the two views are brought to equal marks.
_CLOSE: Final = 2_000


class Target(Protocol):
    """A store with a live view and a new one, which is built beside it.

    Attributes:
        sink, options: how a worker makes its sink (see Job).
        follows: the new view may be ahead of the live one; else workers never read past the live marks.

    Every method may raise what its store raises; that ends the rebuild, which can go on from its marks.
    """

    sink: str
    options: dict[str, Any]
    follows: bool

    async def store(self, blocks: list[tuple[str, bytes]]) -> int:
        """Write what a worker's sink handed over, in this order; how many records the store will never take."""
        ...

    async def live_marks(self) -> Sequence[Marks]:
        """The marks of the live view, part by part (a store may keep marks for each of its shards)."""
        ...

    async def marks(self) -> Sequence[Marks]:
        """The marks of the new view, of the same parts."""
        ...

    def standstill(self) -> AbstractAsyncContextManager[None]:
        """Inside, nothing moves that must stand still while both are compared and switched."""
        ...

    async def compare(self, advance: Callable[[int, int], None]) -> bool:
        """Compare both, telling how many parts of how many are done. Whether readers are to be switched."""
        ...

    async def switch(self) -> None:
        """Point readers to the new view. Raises RuntimeError where another one became live meanwhile."""
        ...

    async def taken_over(self) -> bool:
        """Whether the live consumer writes the new view, so that workers need not any longer."""
        ...


class Progress(NamedTuple):
    """A moment of a rebuild.

    Attributes:
        done, total: records, or parts while comparing.
        per_second: records of the last seconds; 0 while comparing.
        behind: records of the log that were not read yet.
        seconds_left: None when that is not known.
        memory: resident bytes of all workers.
    """

    phase: str
    done: int
    total: int
    per_second: float = 0.0
    behind: int = 0
    seconds_left: float | None = None
    memory: int = 0


@dataclass(frozen=True)
class Work:
    """How it is worked: processes, most records a second (None: any), records held before a flush, priority (0-19)."""

    workers: int
    rate: float | None
    hold_records: int
    nice: int
    hand_over_seconds: float = 0.0


class Totals(Protocol):
    """What came of it so far; the engine writes it.

    Attributes:
        records, seconds: read until the new view had reached the live one, and how long that took.
        cpu_seconds: of all workers until then. `memory`: most resident bytes of all of them together.
        poison: records that could not be read or stored; they are among the dead letters.
        gaps: what the log did not have any more, one sentence each.
    """

    records: int
    seconds: float
    cpu_seconds: float
    memory: int
    poison: int
    gaps: list[str]


class Engine:
    """One rebuild. Cancel it to stop; another one goes on from the target's marks.

    `tell` is called some times a second with the progress; what it raises ends the rebuild.
    """

    def __init__(
        self, kafka: KafkaSettings, target: Target, work: Work, totals: Totals, tell: Callable[[Progress], None]
    ) -> None:
        self._kafka = kafka
        self._target = target
        self._work = work
        self._totals = totals
        self._poison_before = totals.poison
        self._tell = tell
        self._began = time.monotonic()
        self._compared = False
        self._phase: Phase = "starting"
        self._last = Progress("starting", 0, 0)
        self._partitions: tuple[Partition, ...] = ()
        self._goals: dict[str, int] = {}
        self._rate = Rate()
        self._logged_at = time.monotonic()
        self._log = logging.getLogger("animusic.rebuild")

    async def run(self, partitions: Sequence[Partition], *, part: bool = False) -> None:
        """Build and switch. `part`: read the partitions to where each says, and no more.

        Raises RuntimeError when a worker ends; what the target raises; aiokafka's KafkaError, ConnectionError.
        """
        self._partitions = tuple(partitions)
        limits = self._set_goals(await self._target.live_marks(), part=part)
        self._say(Progress("starting", 0, sum(self._goals.values())))
        async with Workers(self._job(limits), self._work.workers, self._target.store) as workers:
            await self._read(workers, part=part)
            if part:
                return
            async with self._target.standstill():
                await self._reach(workers)
                self._enter("comparing")
                self._compared = True
                if not await self._target.compare(lambda done, total: self._advance(workers, done, total)):
                    return
                # Comparing takes a while; readers must not be sent back to before it.
                await self._reach(workers)
                self._enter("switching")
                await self._target.switch()
            if self._work.hand_over_seconds:
                await self._hand_over(workers)

    def _job(self, limits: Marks) -> Job:
        return Job(
            kafka=self._kafka, sink=self._target.sink, options=self._target.options, partitions=self._partitions,
            limits=dict(limits), rate=self._work.rate, hold_records=self._work.hold_records, nice=self._work.nice,
        )  # fmt: skip

    def _set_goals(self, live: Sequence[Marks], *, part: bool = False) -> Marks:
        """Set how far each partition is to be read. The limits of workers, which follow the log where there is none."""
        for p in self._partitions:
            mark = max((marks.get(p.field, 0) for marks in live), default=0)
            if part:
                self._goals[p.field] = p.end if p.until is None else p.until
            else:
                # A mark never goes back, however the store answers.
                self._goals[p.field] = max(self._goals.get(p.field, p.end if self._target.follows else 0), mark)
        return {} if self._target.follows and not part else self._goals

    # ---- reading ------------------------------------------------------------------------------------------------

    async def _read(self, workers: Workers, *, part: bool) -> None:
        while True:
            if not part:
                await self._follow_live(workers)
            report = self._look(workers)
            # A worker that has said nothing yet is still starting: inserts are not to wait for that at a standstill.
            if self._phase == "starting" and len(report.positions) == len(self._partitions):
                self._enter("reading")
            left = sum(max(0, goal - report.positions.get(name, 0)) for name, goal in self._goals.items())
            if self._phase == "reading" and left <= (0 if part else _CLOSE):
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _follow_live(self, workers: Workers) -> Sequence[Marks]:
        """The live marks; workers may read up to them."""
        live = await self._target.live_marks()
        if limits := self._set_goals(live):
            workers.limit(limits)
        return live

    async def _reach(self, workers: Workers) -> None:
        """Return at a moment when every mark is at least what the live view had a tenth of a second ago."""
        self._enter("catching up")
        while True:
            live = await self._follow_live(workers)
            await asyncio.sleep(_STEP_SECONDS)
            self._look(workers)
            if reached(await self._target.marks(), live, [p.field for p in self._partitions]):
                return

    async def _hand_over(self, workers: Workers) -> None:
        """Feed the new view until the live consumer writes it."""
        self._enter("handing over")
        deadline = time.monotonic() + self._work.hand_over_seconds
        while time.monotonic() < deadline and not await self._target.taken_over():
            self._look(workers)
            await asyncio.sleep(_STEP_SECONDS)

    # ---- looking ------------------------------------------------------------------------------------------------

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._log.info("%s", phase)
        self._say(self._last._replace(phase=phase))

    def _advance(self, workers: Workers, done: int, total: int) -> None:
        self._look(workers)
        self._say(Progress(self._phase, done, total))

    def _look(self, workers: Workers) -> Report:
        raise_if_cancelled()
        try:
            report = workers.report()
        except RuntimeError as error:
            raise RuntimeError(f"{error}; nothing is lost: the same command goes on from where this one was") from error
        self._totals.memory = max(self._totals.memory, report.memory)
        self._totals.gaps = list(dict.fromkeys([*self._totals.gaps, *report.gaps]))
        self._totals.poison = self._poison_before + report.poison
        if not self._compared:
            self._totals.records, self._totals.cpu_seconds = report.records, report.cpu_seconds
            self._totals.seconds = time.monotonic() - self._began
        if self._phase != "comparing":
            self._say(self._progress(report))
        return report

    def _progress(self, report: Report) -> Progress:
        """Told is what was read: it is in the store within a hold of that."""
        ends = {p.field: max(self._goals[p.field], report.ends.get(p.field, 0)) for p in self._partitions}
        if not self._target.follows or any(p.until is not None for p in self._partitions):
            ends = self._goals
        total = sum(ends[p.field] - min(ends[p.field], max(p.begin, p.start or 0)) for p in self._partitions)
        behind = sum(max(0, ends[p.field] - max(report.read.get(p.field, 0), p.begin)) for p in self._partitions)
        per_second = self._rate.of(report.records)
        left = behind / per_second if per_second else None
        return Progress(self._phase, max(0, total - behind), total, per_second, behind, left, report.memory)

    def _say(self, progress: Progress) -> None:
        self._last = progress
        self._tell(progress)
        if time.monotonic() - self._logged_at > _LOG_SECONDS:
            self._logged_at = time.monotonic()
            self._log.info("%s: %d records behind, %.0f records/s", self._phase, progress.behind, progress.per_second)


class Rate:
    """Records a second over the last five seconds."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def of(self, records: int) -> float:
        """The rate, now that there are so many in all."""
        now = time.monotonic()
        self._seen = [(at, count) for at, count in self._seen if now - at < _RATE_SECONDS]
        self._seen.append((now, records))
        first_at, first = self._seen[0]
        return (records - first) / (now - first_at) if now > first_at else 0.0


def reached(new: Sequence[Marks], live: Sequence[Marks], names: Sequence[str]) -> bool:
    """Whether every part of the new view has these marks at least where the live one has them."""
    return all(
        ours.get(name, 0) >= theirs[name]
        for ours, theirs in zip(new, live, strict=True)
        for name in names
        if name in theirs
    )


def raise_if_cancelled() -> None:
    """Raise what a client of Kafka took for the end of a task of its own while it closed."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
