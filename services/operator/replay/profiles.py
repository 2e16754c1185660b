"""Profiles rebuilt in Redis: a new generation beside the live one.

1. One rebuild at a time (lease). 2. `profiles.v1` first, so that who is forgotten stays forgotten. 3. The engine (see
`services.rebuild`) reads everything into the new generation and goes on following the log. 4. Once its marks have
reached the live generation's on all shards, the two are compared. 5. One compare-and-set points readers to it. 6. The
workers go on until the live consumer says that it writes the new generation. The live generation is never written.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio import Redis

from contracts.placement import SHARDS
from contracts.topics import FEEDBACK, PLAYLISTS, PROFILES
from services.common.process.clock import now_ms
from services.common.settings import Settings
from services.operator.parity import Parity, compare
from services.operator.replay.lease import Lease
from services.operator.replay.settling import settle
from services.profiles.generations import Generation, Generations
from services.profiles.sink import GRACE_SECONDS, ProfilesSink
from services.profiles.store import ProfileStore
from services.rebuild.engine import Engine, Marks, Progress, Work, raise_if_cancelled
from services.rebuild.job import Job
from services.rebuild.planning import Bound, Plan, planned
from services.rebuild.reading import Reader

TOPICS: Final = (PROFILES.name, FEEDBACK.name, PLAYLISTS.name)
# Where a rate is asked for, so many fields are compared in the time of one record.
_FIELDS_A_RECORD: Final = 2
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")


@dataclass(frozen=True)
class RebuildOptions:
    """What was asked for.

    Attributes:
        workers: processes that read and fold. `nice`: their priority (0-19).
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
    nice: int = 19
    rate: float | None = None
    batch: int = 100_000
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
    """What came of it; see Totals for the rest.

    Attributes:
        went_on: it took up a generation that was begun before.
        parity: None for a part of the log.
        switched: readers were pointed to it. `taken_over`: the live consumer writes it now.
    """

    generation: str
    former: str
    went_on: bool
    records: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory: int = 0
    poison: int = 0
    gaps: list[str] = field(default_factory=list)
    parity: Parity | None = None
    switched: bool = False
    taken_over: bool = False


class Rebuild:
    """One rebuild. `await run()`; cancel it to stop, and run another one to go on.

    Raises RuntimeError (another rebuild goes on, a worker died, the lease was lost), ValueError (the options make no
    sense), redis.exceptions.RedisError, aiokafka's KafkaError, ConnectionError, LookupError: each says what to do.
    """

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        options: RebuildOptions,
        tell: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._settings = settings
        self._redis = redis
        self._options = options
        self._generations = Generations(redis)
        self._lease = Lease(redis, options.what)
        self._tell = tell

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
        if self._options.partial and not self._options.keep:
            raise ValueError(
                "a part of the log can never become the live generation: leave out --from and --until, look at it with "
                "--dry-run or --user, or build it beside the live one with --keep"
            )
        if self._options.generation is not None and not _NAME.fullmatch(self._options.generation):
            raise ValueError(f"{self._options.generation!r} is no name for a generation; write something like g7")

    # ---- which generation ---------------------------------------------------------------------------------------

    async def _choose(self) -> Outcome:
        live, known = await self._generations.live(), await self._generations.known()
        name = self._options.generation or self._interrupted(known, live) or _next_name(known)
        found = known.get(name)
        if name == live:
            raise ValueError(f"generation {name} is live: readers and the consumer use it; name another one")
        if found is None and self._options.existing:
            raise LookupError(f"there is no generation {name}; `animusic generations list` lists them")
        if found is not None and found.state == "partial" and not self._options.partial:
            raise ValueError(f"generation {name} holds a part of the log only ({found.note}) and can never be live")
        return Outcome(name, live, went_on=found is not None, gaps=list(found.gaps) if found else [])

    def _interrupted(self, known: dict[str, Generation], live: str) -> str | None:
        if self._options.new or self._options.partial:
            return None
        begun = [name for name, one in known.items() if one.state == "building" and name != live]
        return max(begun, key=lambda name: known[name].made_at, default=None)

    # ---- building -----------------------------------------------------------------------------------------------

    async def _build(self, outcome: Outcome) -> None:
        options = self._options
        plan = await planned(self._settings.kafka, TOPICS, options.since, options.until)
        outcome.gaps = list(dict.fromkeys([*outcome.gaps, *plan.gaps]))
        target = _Generation(self._settings, self._redis, options, outcome, plan)
        await target.prepare()
        if not options.existing:
            await target.note("partial" if options.partial else "building")
        await self._read_forgotten(target, outcome, plan)
        work = Work(options.workers, options.rate, options.batch, options.nice, options.hand_over_seconds)
        engine = Engine(self._settings.kafka, target, work, outcome, self._progress)
        await engine.run(plan.partitions, part=options.partial)

    async def _read_forgotten(self, target: "_Generation", outcome: Outcome, plan: Plan) -> None:
        """Read `profiles.v1` to its end as of now, before anything else: nobody who is forgotten comes in."""
        theirs = tuple(p for p in plan.partitions if p.topic == PROFILES.name)
        self._progress(Progress("profiles.v1", 0, sum(p.size for p in theirs)))
        job = Job(
            kafka=self._settings.kafka, sink=target.sink, options={}, partitions=theirs, rate=self._options.rate,
            limits={p.field: p.end if p.until is None else p.until for p in theirs}, hold_records=self._options.batch,
        )  # fmt: skip
        reader = Reader(job, target.live_sink())
        await reader.run(follow=False)
        outcome.poison += reader.report().poison
        raise_if_cancelled()

    def _progress(self, progress: Progress) -> None:
        """Tell who watches, and whoever asks for the lease's holder."""
        if self._lease.lost:
            raise RuntimeError("another rebuild took the lease while this process was frozen; that one goes on")
        behind = f"{progress.behind} records behind, {progress.per_second:.0f} records/s"
        done = f"{progress.done} of {progress.total}"
        self._lease.doing = f"{progress.phase}: {behind if progress.per_second or progress.behind else done}"
        self._tell(progress)


class _Generation:
    """The new generation, as a target of the engine."""

    sink = "services.profiles.sink:shadow_sink"
    follows = True

    def __init__(self, settings: Settings, redis: Redis, options: RebuildOptions, outcome: Outcome, plan: Plan) -> None:
        self._settings = settings
        self._redis = redis
        self._wanted = options
        self._outcome = outcome
        self._plan = plan
        self._generations = Generations(redis)
        self._live, self._new = (ProfileStore(redis, name) for name in (outcome.former, outcome.generation))
        # Name of a mark -> the shards that have it in the live generation: a topic may have had fewer partitions.
        self._shards: dict[str, list[int]] = {}
        self._taken_over_at = float("inf")
        self.options: dict[str, Any] = {}

    async def prepare(self) -> None:
        """Find out which marks the new generation has to have."""
        for shard, marks in enumerate(await self._live.marks()):
            for name in marks:
                self._shards.setdefault(name, []).append(shard)
        self.options = {
            "redis": self._settings.redis.model_dump(), "generation": self._outcome.generation, "shards": self._shards,
        }  # fmt: skip

    def live_sink(self) -> ProfilesSink:
        """The sink of this process."""
        return ProfilesSink(self._new, shards=self._shards)

    async def note(self, state: str) -> None:
        """Note it in the register of generations."""
        before = (await self._generations.known()).get(self._outcome.generation, Generation(made_at=now_ms()))
        note = f"from {self._wanted.since.text or 'the start'} to {self._wanted.until.text or 'the end'}"
        changed = {"state": state, "gaps": tuple(self._outcome.gaps)} | ({"note": note} if self._wanted.partial else {})
        await self._generations.note(self._outcome.generation, before.model_copy(update=changed))

    async def store(self, blocks: list[tuple[str, bytes]]) -> int:
        """See Target. Workers write by themselves."""
        raise AssertionError(f"a worker of profiles handed over {len(blocks)} blocks")

    async def live_marks(self) -> Sequence[Marks]:
        """See Target: by shard."""
        return await self._live.marks()

    async def marks(self) -> Sequence[Marks]:
        """See Target: by shard."""
        return await self._new.marks()

    def standstill(self) -> contextlib.AbstractAsyncContextManager[None]:
        """See Target. Generations are compared while both move."""
        return contextlib.nullcontext()

    async def compare(self, advance: Callable[[int, int], None]) -> bool:
        """See Target."""
        outcome, rate = self._outcome, self._wanted.rate
        starts = {p.field: p.begin for p in self._plan.partitions}
        outcome.parity = await compare(
            self._redis, outcome.former, outcome.generation, starts,
            progress=lambda done: advance(done, SHARDS), rate=rate and _FIELDS_A_RECORD * rate,
        )  # fmt: skip
        await settle(self._settings.kafka, self._redis, outcome.parity, self._plan.partitions, self._shards)
        advance(SHARDS, SHARDS)
        await self.note("ready")
        return not self._wanted.keep and (self._wanted.even_if_different or outcome.parity.equal)

    async def switch(self) -> None:
        """See Target."""
        outcome = self._outcome
        known = await self._generations.known()
        former = known.get(outcome.former, Generation())
        await self._generations.note(outcome.former, former.model_copy(update={"live_until": now_ms()}))
        now_live = await self._generations.switch(outcome.former, outcome.generation)
        if now_live != outcome.generation:
            raise RuntimeError(f"generation {now_live} became live meanwhile; look at `animusic generations list`")
        outcome.switched = True

    async def taken_over(self) -> bool:
        """See Target. The consumer says so before it has sought its place in the log again."""
        if not self._outcome.taken_over:
            written = await self._generations.written()
            self._outcome.taken_over = all(
                written.get(p.field) == self._outcome.generation for p in self._plan.partitions
            )
            self._taken_over_at = time.monotonic()
        return self._outcome.taken_over and time.monotonic() - self._taken_over_at > GRACE_SECONDS


def _next_name(known: dict[str, Generation]) -> str:
    numbers = [int(name[1:]) for name in known if re.fullmatch(r"g[0-9]{1,9}", name)]
    return f"g{max(numbers, default=0) + 1}"
