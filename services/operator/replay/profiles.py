"""A rebuild of profiles from its start to the switch: the law of what happens when, and of what makes it stop.

1. One rebuild at a time (lease). 2. `profiles.v1` first, so that who is forgotten stays forgotten. 3. Workers read
everything into the shadow generation and go on following the log. 4. Once its marks have reached the live generation's
on all shards, the two are compared. 5. One compare-and-set points readers to it. 6. The workers go on until the live
consumer says that it writes the new generation. The live generation is read, never written.

Whenever it is stopped or killed, the marks in the shadow generation say where the next one goes on.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from redis.asyncio import Redis

from contracts.topics import PROFILES
from services.common.process.clock import now_ms
from services.common.process.priority import IDLE
from services.common.settings import Settings
from services.operator.parity import Parity, compare
from services.operator.replay.job import FIELDS_A_RECORD, Job, Partition, Report
from services.operator.replay.lease import Lease
from services.operator.replay.planning import Bound, Plan, planned
from services.operator.replay.reading import Reader
from services.operator.replay.settling import settle
from services.operator.replay.watching import Phase, Progress, Watch
from services.operator.replay.workers import Workers
from services.profiles.generations import Generation, Generations
from services.profiles.sink import GRACE_SECONDS
from services.profiles.store import ProfileStore

_LOOK_SECONDS = 0.1
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")


@dataclass(frozen=True)
class Wish:
    """What was asked for.

    Attributes:
        workers: processes that read and fold. `nice`: see Job.
        rate: most records a second, all workers together. `batch`: records held before a flush, a worker.
        hand_over_seconds: how long to wait for the live consumer after the switch.
        keep: build and compare, and leave readers where they are.
        generation: its name; None: the one that was interrupted, else a new one.
        new: never go on in an interrupted one.
        even_if_different: switch although the two differ (the live one is known to be wrong).
        existing: the generation must be there already (`generations switch`).
    """

    since: Bound = field(default_factory=Bound)
    until: Bound = field(default_factory=Bound)
    workers: int = 2
    nice: int = IDLE
    rate: float | None = None
    batch: int = 200_000
    hand_over_seconds: float = 60.0
    keep: bool = False
    generation: str | None = None
    new: bool = False
    even_if_different: bool = False
    existing: bool = False
    what: str = "replay profiles"

    @property
    def partial(self) -> bool:
        """Whether it is a part of the log only."""
        return not (self.since.is_edge and self.until.is_edge)


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        went_on: it took up a generation that was begun before.
        records, seconds: read by the workers until the live marks were reached, and how long that took.
        parity: None for a part of the log.
        switched: readers were pointed to it. `taken_over`: the live consumer writes it now.
        memory: most resident bytes of all workers together.
    """

    generation: str
    former: str
    went_on: bool
    records: int = 0
    seconds: float = 0.0
    poison: int = 0
    memory: int = 0
    gaps: list[str] = field(default_factory=list)
    parity: Parity | None = None
    switched: bool = False
    taken_over: bool = False


class Rebuild:
    """One rebuild. `await run()`; cancel it to stop, and run another one to go on.

    Raises RuntimeError (another rebuild goes on, a worker died, the lease was lost), ValueError (the wish makes no
    sense), redis.exceptions.RedisError, aiokafka's KafkaError, ConnectionError, LookupError: each says what to do.
    """

    def __init__(
        self, settings: Settings, redis: Redis, wish: Wish, watch: Callable[[Progress], None] = lambda progress: None
    ) -> None:
        self._settings = settings
        self._redis = redis
        self._wish = wish
        self._generations = Generations(redis)
        self._lease = Lease(redis, wish.what)
        self._watch = Watch(watch, self._lease)

    async def run(self) -> Outcome:
        """Build, catch up, compare, switch, hand over."""
        self._check()
        await self._lease.take()
        keeping = asyncio.create_task(self._lease.keep())
        try:
            outcome = await self._choose()
            self._lease.into(outcome.generation)
            await self._build(outcome)
            return outcome
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
            await self._lease.release()

    def _check(self) -> None:
        if self._wish.partial and not self._wish.keep:
            raise ValueError(
                "a part of the log can never become the live generation: leave out --from and --until, look at it with "
                "--dry-run or --user, or build it beside the live one with --keep"
            )
        if self._wish.generation is not None and not _NAME.fullmatch(self._wish.generation):
            raise ValueError(f"{self._wish.generation!r} is no name for a generation; write something like g7")

    # ---- which generation ---------------------------------------------------------------------------------------

    async def _choose(self) -> Outcome:
        live, known = await self._generations.live(), await self._generations.known()
        name = self._wish.generation or self._interrupted(known, live) or _next_name(known)
        found = known.get(name)
        if name == live:
            raise ValueError(f"generation {name} is live: readers and the consumer use it; name another one")
        if found is None and self._wish.existing:
            raise LookupError(f"there is no generation {name}; `animusic generations list` names those that there are")
        if found is not None and found.state == "partial" and not self._wish.partial:
            raise ValueError(f"generation {name} holds a part of the log only ({found.note}) and can never be live")
        return Outcome(name, live, went_on=found is not None, gaps=list(found.gaps) if found else [])

    def _interrupted(self, known: dict[str, Generation], live: str) -> str | None:
        if self._wish.new or self._wish.partial:
            return None
        begun = [name for name, one in known.items() if one.state == "building" and name != live]
        return max(begun, key=lambda name: known[name].made_at, default=None)

    async def _note(self, outcome: Outcome, state: str) -> None:
        before = (await self._generations.known()).get(outcome.generation, Generation(made_at=now_ms()))
        note = f"from {self._wish.since.text or 'the start'} to {self._wish.until.text or 'the end'}"
        changed = {"state": state, "gaps": tuple(outcome.gaps)} | ({"note": note} if self._wish.partial else {})
        await self._generations.note(outcome.generation, before.model_copy(update=changed))

    # ---- building -----------------------------------------------------------------------------------------------

    async def _build(self, outcome: Outcome) -> None:
        extra = await self._live_shards(outcome.former)
        plan = await planned(self._settings.kafka, self._wish.since, self._wish.until, extra)
        outcome.gaps = list(dict.fromkeys([*outcome.gaps, *plan.gaps]))
        if not self._wish.existing:
            await self._note(outcome, "partial" if self._wish.partial else "building")
        await self._read_forgotten(outcome, plan)
        async with self._working(outcome, plan) as workers:
            if self._wish.partial:
                await self._until(lambda: workers.report().done, workers, plan, outcome, "reading")
                return
            await self._catch_up(outcome, plan, workers)
            await self._compare(outcome, plan, workers)
            if self._wish.keep or not self._may_switch(outcome):
                return
            workers.hurry()
            await self._reach(outcome, plan, workers)
            await self._switch(outcome)
            await self._hand_over(outcome, plan, workers)

    def _job(self, outcome: Outcome, partitions: tuple[Partition, ...]) -> Job:
        return Job(
            kafka=self._settings.kafka, redis=self._settings.redis, generation=outcome.generation,
            partitions=partitions, rate=self._wish.rate, nice=self._wish.nice,
            hold_records=self._wish.batch,
        )  # fmt: skip

    async def _live_shards(self, live: str) -> dict[str, list[int]]:
        """Name of a mark -> the shards that have it in the live generation (a topic may have had fewer partitions)."""
        found: dict[str, list[int]] = {}
        for shard, marks in enumerate(await ProfileStore(self._redis, live).marks()):
            for name in marks:
                found.setdefault(name, []).append(shard)
        return found

    async def _read_forgotten(self, outcome: Outcome, plan: Plan) -> None:
        """Read `profiles.v1` to its end as of now, before anything else: nobody who is forgotten comes in."""
        theirs = tuple(
            p.model_copy(update={"until": p.end if p.until is None else p.until})
            for p in plan.partitions
            if p.topic == PROFILES.name
        )
        reader = Reader(self._job(outcome, theirs), self._redis)
        self._watch.enter("profiles.v1", sum(p.size for p in theirs))
        try:
            await reader.start()
            await reader.run()
            outcome.poison += reader.report().poison
        finally:
            await reader.close()
        _heed_cancel()

    @contextlib.asynccontextmanager
    async def _working(self, outcome: Outcome, plan: Plan) -> AsyncIterator[Workers]:
        workers = Workers(self._job(outcome, plan.partitions), self._redis, self._wish.workers)
        await workers.start()
        try:
            yield workers
        finally:
            await workers.stop()

    async def _until(
        self, reached: Callable[[], bool], workers: Workers, plan: Plan, outcome: Outcome, phase: Phase
    ) -> None:
        self._watch.enter(phase, plan.records)
        while not reached():
            self._look(workers, plan, outcome)
            await asyncio.sleep(_LOOK_SECONDS)
        self._look(workers, plan, outcome)

    def _look(self, workers: Workers, plan: Plan, outcome: Outcome) -> Report:
        _heed_cancel()
        report = workers.report()
        if self._lease.lost:
            raise RuntimeError("another rebuild took the lease while this process was frozen; that one goes on")
        outcome.memory = max(outcome.memory, report.memory)
        outcome.gaps = list(dict.fromkeys([*outcome.gaps, *report.gaps]))
        outcome.poison = report.poison
        self._watch.look(report, plan)
        return report

    # ---- catching up --------------------------------------------------------------------------------------------

    async def _catch_up(self, outcome: Outcome, plan: Plan, workers: Workers) -> None:
        began = time.monotonic()

        def whole() -> bool:
            positions = workers.report().positions
            return all(positions.get(p.field, 0) >= p.end for p in plan.partitions)

        await self._until(whole, workers, plan, outcome, "reading")
        await self._reach(outcome, plan, workers)
        outcome.seconds, outcome.records = time.monotonic() - began, workers.report().records

    async def _reach(self, outcome: Outcome, plan: Plan, workers: Workers) -> None:
        """Return at a moment when every mark is at least what the live generation had a tenth of a second ago."""
        fields = [p.field for p in plan.partitions]
        live, shadow = (ProfileStore(self._redis, name) for name in (outcome.former, outcome.generation))
        self._watch.enter("catching up", plan.records)
        while True:
            wanted = await live.marks()
            await asyncio.sleep(_LOOK_SECONDS)
            self._look(workers, plan, outcome)
            if _reached(await shadow.marks(), wanted, fields):
                return

    async def _compare(self, outcome: Outcome, plan: Plan, workers: Workers) -> None:
        self._watch.enter("comparing", 64)
        starts = {p.field: p.begin for p in plan.partitions}
        outcome.parity = await compare(
            self._redis, outcome.former, outcome.generation, starts, progress=self._watch.advance,
            rate=self._wish.rate and FIELDS_A_RECORD * self._wish.rate,
        )  # fmt: skip
        await settle(self._settings.kafka, self._redis, outcome.parity, plan.partitions)
        self._look(workers, plan, outcome)
        await self._note(outcome, "ready")

    def _may_switch(self, outcome: Outcome) -> bool:
        return self._wish.even_if_different or (outcome.parity is not None and outcome.parity.equal)

    # ---- switching ----------------------------------------------------------------------------------------------

    async def _switch(self, outcome: Outcome) -> None:
        known = await self._generations.known()
        former = known.get(outcome.former, Generation())
        await self._generations.note(outcome.former, former.model_copy(update={"live_until": now_ms()}))
        now_live = await self._generations.switch(outcome.former, outcome.generation)
        if now_live != outcome.generation:
            raise RuntimeError(f"generation {now_live} became live meanwhile; look at `animusic generations list`")
        outcome.switched = True

    async def _hand_over(self, outcome: Outcome, plan: Plan, workers: Workers) -> None:
        """Feed the new generation until the live consumer says that it writes it, and until it really does."""
        self._watch.enter("handing over", plan.records)
        deadline = time.monotonic() + self._wish.hand_over_seconds
        while time.monotonic() < deadline:
            written = await self._generations.written()
            whole = all(written.get(p.field) == outcome.generation for p in plan.partitions)
            if whole and not outcome.taken_over:
                outcome.taken_over = True
                # It says so before it has sought its place in the log again.
                deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
            self._look(workers, plan, outcome)
            await asyncio.sleep(_LOOK_SECONDS)


def _heed_cancel() -> None:
    """Raise what a client of Kafka took for the end of a task of its own while it closed."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _next_name(known: dict[str, Generation]) -> str:
    numbers = [int(name[1:]) for name in known if re.fullmatch(r"g[0-9]{1,9}", name)]
    return f"g{max(numbers, default=0) + 1}"


def _reached(shadow: list[dict[str, int]], live: list[dict[str, int]], fields: list[str]) -> bool:
    return all(
        ours.get(name, 0) >= theirs[name] for ours, theirs in zip(shadow, live, strict=True) for name in fields
        if name in theirs
    )  # fmt: skip
