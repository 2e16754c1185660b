"""One verification: bounds that both stores have reached, the log read once, both stores held against it.

Everything may move meanwhile. Redis answers fields together with their marks, so a profile that is further than the
bounds is compared with the log folded up to its own mark. ClickHouse has no such moment: a user who differs there is
asked again once its marks have reached the log's end, a few times. Rows have offsets: those before the bounds count.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from aiokafka import TopicPartition

from contracts.fold import Folded, writes
from contracts.marks import MarkName
from contracts.placement import partition_of
from contracts.profiles import Forgotten
from contracts.records import PROFILE_VERSIONS
from contracts.topics import FEEDBACK, PROFILES
from services.common.kafka import read_to_end, topic_ids
from services.common.redis import connect
from services.common.settings import Settings
from services.operator.dlq.log import read_dead_letters
from services.operator.reaching import warehouse_answers
from services.operator.verify.catalogue import CatalogueCheck
from services.operator.verify.clickhouse import Warehouse
from services.operator.verify.kept import KeptCheck
from services.operator.verify.log import Bounds, Letters, Telling, edges, folds_of, read, records
from services.operator.verify.model import CannotCompare, Fault, Progress, Report, Sample, Store
from services.operator.verify.outcomes import OutcomeCheck
from services.operator.verify.redis import Profiles, Stored
from services.operator.verify.rows import RowCheck
from services.operator.verify.saying import Slot, differences, folded_of, said, slot_of
from services.profiles.generations import Generations

_REACH_SECONDS: Final = 60.0
# A warehouse that is starting listens within these.
_LISTEN_SECONDS: Final = 20.0
_ROUNDS: Final = 8
_EXPLAINED_USERS: Final = 50
Spans = Mapping[TopicPartition, tuple[int, int]]


class Verification:
    """One run. `await run()`; raises CannotCompare, and what the three stores' clients raise when one is away."""

    def __init__(
        self,
        settings: Settings,
        sample: Sample,
        tell: Progress = lambda phase, done, total: None,
        *,
        reach_seconds: float = _REACH_SECONDS,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._settings = settings
        self._sample = sample
        self._tell = tell
        self._reach_seconds = reach_seconds
        self._say = say
        self._letters: Letters = {}
        self._partitions = 0
        self._known: set[str] = set()
        self._strays: set[str] = set()
        self._forgotten: set[str] = set()
        self._pending: list[tuple[Store, str, Slot, bytes | None, bytes | None]] = []
        self.report = Report(sample.share if not sample.users else 0.0)

    async def run(self) -> Report:
        """Compare everything."""
        began = time.monotonic()
        redis, self._warehouse = connect(self._settings.redis), Warehouse(self._settings.clickhouse)
        try:
            self._profiles = Profiles(redis, await Generations(redis).live())
            self._bounds = await self._reach()
            await self._widen()
            self._letters = await _letters(self._settings)
            await self._check_forgotten()
            for done, bounds in enumerate(self._bounds):
                self._tell("partitions", done, len(self._bounds))
                await self._check_partition(bounds)
            await self._check_strays()
            await self._check_extra_users()
            await self._check_kept()
            await self._check_outcomes()
            await self._check_catalogue()
            await self._explain()
        finally:
            await redis.aclose()
            await self._warehouse.aclose()
        self.report.seconds = time.monotonic() - began
        return self.report

    # ---- bounds -------------------------------------------------------------------------------------------------

    async def _reach(self) -> list[Bounds]:
        """The log's ends as of now, once both stores' marks have reached them."""
        ids = await topic_ids(self._settings.kafka.bootstrap_servers, [FEEDBACK.name, PROFILES.name])
        spans = await edges(self._settings.kafka, [FEEDBACK.name, PROFILES.name])
        self._ids = ids
        self._partitions = sum(tp.topic == FEEDBACK.name for tp in spans)
        names = {MarkName(ids[tp.topic], tp.partition): upto for tp, (_, upto) in spans.items()}
        try:
            await warehouse_answers(self._settings.clickhouse, min(self._reach_seconds, _LISTEN_SECONDS), self._say)
        except ConnectionError as silent:
            raise CannotCompare(str(silent)) from silent
        deadline = time.monotonic() + self._reach_seconds
        while behind := await self._behind(names):
            if time.monotonic() > deadline:
                raise CannotCompare(
                    f"{behind} has not come to the log's end within {self._reach_seconds:.0f} s; `animusic status` "
                    "says how far it is: try again when it has caught up"
                )
            await asyncio.sleep(0.1)
        return [
            Bounds(ids[tp.topic], tp.partition, begin, upto)
            for tp, (begin, upto) in sorted(spans.items())
            if tp.topic == FEEDBACK.name
        ]

    async def _behind(self, names: Mapping[MarkName, int]) -> str:
        """The store that is not there yet; "" when both are."""
        if not await self._profiles.reached(names):
            return "Redis"
        marks = await self._warehouse.marks()
        return "ClickHouse" if any(marks.get(name, 0) < upto for name, upto in names.items()) else ""

    async def _widen(self) -> None:
        """Look at some listeners at least. A store that lost its listeners does not make the sample smaller."""
        known = {user async for user in self._profiles.users()} | {user async for user in self._profiles.users("h")}
        self.report.listeners = max(len(known), await self._warehouse.listeners())
        self._sample = self._sample.of(self.report.listeners)
        self.report.sample = 0.0 if self._sample.users else self._sample.share

    # ---- who is forgotten ---------------------------------------------------------------------------------------

    async def _check_forgotten(self) -> None:
        async for batch in read_to_end(self._settings.kafka, PROFILES.name):
            for record in batch:
                user = _forgotten_user(record)
                if user is not None and self._sample.holds(user):
                    self._forgotten.add(user)
        stored = await self._profiles.stored(self._forgotten)
        stores: dict[Store, set[str]] = {
            "redis": await self._profiles.forgotten(), "clickhouse": await self._warehouse.forgotten(),
        }  # fmt: skip
        for user in sorted(self._forgotten):
            if stored[user].fields:
                self.report.add(Fault("redis", "forgotten user still there", user))
            for store, gone in stores.items():
                if user not in gone:
                    self.report.add(Fault(store, "forgetting missing", user))

    # ---- one partition ------------------------------------------------------------------------------------------

    async def _check_partition(self, bounds: Bounds) -> None:
        telling = Telling(
            self._sample, self._letters, lambda user: partition_of(user, self._partitions) == bounds.partition
        )
        async for batch in records(self._settings.kafka, {bounds.tp: (bounds.begin, bounds.upto)}):
            for record in batch:
                telling.add(record)
        told = telling.told
        self.report.explained += told.explained
        if bounds.partial:
            self.report.notes.append(
                f"{FEEDBACK.name}/{bounds.partition} begins at offset {bounds.begin}; what lies before is not compared"
            )
        await RowCheck(self._settings.kafka, self._warehouse, self._letters, self.report).run(bounds, told)
        self._strays |= told.strays
        users = (told.redis.keys() | told.clickhouse.keys()) - self._strays
        self._known |= users | told.strays
        spans = {bounds.tp: (bounds.begin, bounds.upto)}
        await self._check_users(users, told.redis, told.clickhouse, spans)

    async def _check_strays(self) -> None:
        """Users whose records lie in several partitions: the topic had fewer once. The log is read again for them."""
        if self._strays:
            spans = {bounds.tp: (bounds.begin, bounds.upto) for bounds in self._bounds}
            redis, clickhouse = await folds_of(self._settings.kafka, spans, self._strays, self._letters)
            await self._check_users(self._strays, redis, clickhouse, spans)

    async def _check_users(
        self, users: Collection[str], redis: dict[str, Folded], clickhouse: dict[str, Folded], spans: Spans
    ) -> None:
        self.report.users += len(users)
        self.report.registers += sum(
            len(folded.songs) + len(folded.vetoes) + len(folded.exposures) + len(folded.played)
            for folded in clickhouse.values()
        )
        await self._check_redis(set(users) - self._forgotten, redis, spans)
        await self._check_registers(set(users), clickhouse, spans)

    # ---- Redis --------------------------------------------------------------------------------------------------

    async def _check_redis(self, users: set[str], told: dict[str, Folded], spans: Spans) -> None:
        stored = await self._profiles.stored(users)
        held = {user: folded_of(stored[user].fields)[0] for user in users}
        doubtful = [user for user in users if differences(told.get(user, Folded()), held[user])]
        more = await self._rest(doubtful, stored, spans)
        for user in doubtful:
            folded = _joined(told.get(user), more.get(user))
            if not stored[user].fields and folded.songs | folded.vetoes:
                self.report.add(Fault("redis", "user missing", user))
            else:
                self._note("redis", user, folded, held[user], spans)

    async def _rest(self, users: list[str], stored: Mapping[str, Stored], spans: Spans) -> dict[str, Folded]:
        """A profile may be further than the bounds: what the log tells from there up to each profile's own marks."""

        def mark(user: str, topic: str, partition: int) -> int:
            return stored[user].marks.get(MarkName(self._ids[topic], partition).field(), 0)

        rest = {
            tp: (upto, max((mark(user, tp.topic, tp.partition) for user in users), default=upto))
            for tp, (_, upto) in spans.items()
        }
        more, _ = await folds_of(
            self._settings.kafka, rest, set(users), self._letters,
            lambda user, record: record.offset < mark(user, record.topic, record.partition),
        )  # fmt: skip
        return more

    def _note(self, store: Store, user: str, log: Folded, held: Folded, spans: Spans) -> None:
        partial = any(begin for begin, _ in spans.values())
        for slot, told, holds in differences(log, held):
            if partial and holds is not None and (told is None or slot.register.merge(told, holds) == holds):
                continue
            self._pending.append((store, user, slot, told, holds))

    async def _check_extra_users(self) -> None:
        """Users of Redis whom the log does not know; one who came after the bounds is looked for in the rest."""
        extra = set()
        async for user in self._profiles.users():
            if self._sample.holds(user) and user not in self._known | self._forgotten:
                extra.add(user)
        if not extra or any(bounds.partial for bounds in self._bounds):
            return
        stored = await self._profiles.stored(extra)
        ends = await edges(self._settings.kafka, [FEEDBACK.name])
        rest = {bounds.tp: (bounds.upto, ends[bounds.tp][1]) for bounds in self._bounds}
        came, _ = await folds_of(self._settings.kafka, rest, extra, self._letters)
        for user in sorted(extra - came.keys()):
            if any(name[:1] in (b"s", b"v") for name in stored[user].fields):
                self.report.add(Fault("redis", "extra user", user, store_holds=f"{len(stored[user].fields)} fields"))

    async def _check_kept(self) -> None:
        check = KeptCheck(
            self._settings.kafka, self._profiles, self.report, sample=self._sample, letters=self._letters,
            forgotten=self._forgotten, reach_seconds=self._reach_seconds,
        )  # fmt: skip
        await check.run()

    # ---- ClickHouse ---------------------------------------------------------------------------------------------

    async def _check_catalogue(self) -> None:
        kafka, report = self._settings.kafka, self.report
        await CatalogueCheck(kafka, self._warehouse, report, reach_seconds=self._reach_seconds).run()

    async def _check_outcomes(self) -> None:
        """Not of users whose rows are wrong already: what follows from those tells nothing more."""
        wrong = {
            fault.user for fault in self.report.faults if fault.kind in ("row missing", "row doubled", "extra row")
        }
        await OutcomeCheck(self._warehouse, self.report, self._tell).run(self._known - self._forgotten - wrong)

    async def _check_registers(self, users: set[str], told: dict[str, Folded], spans: Spans) -> None:
        log = {user: told.get(user, Folded()) for user in users}
        at = {tp: upto for tp, (_, upto) in spans.items()}
        left = users
        for _ in range(_ROUNDS):
            held = await self._warehouse.folds(left)
            left = {user for user in left if differences(log[user], held.get(user, Folded()))}
            if not left:
                return
            # Whatever they wrote meanwhile may be in there, or a part of it: wait until all of it is, and ask again.
            ends = {tp: upto for tp, (_, upto) in (await edges(self._settings.kafka, [FEEDBACK.name])).items()}
            _, more = await folds_of(self._settings.kafka, {tp: (at[tp], ends[tp]) for tp in at}, left, self._letters)
            at = {tp: ends[tp] for tp in at}
            for user in left & more.keys():
                log[user] = _joined(log[user], more[user])
            await self._wait_for(at)
            if not more:
                held = await self._warehouse.folds(left)
                for user in sorted(left):
                    self._note("clickhouse", user, log[user], held.get(user, Folded()), spans)
                return
        self.report.unsettled += sorted(left)

    async def _wait_for(self, at: Mapping[TopicPartition, int]) -> None:
        deadline = time.monotonic() + self._reach_seconds
        while True:
            marks = await self._warehouse.marks()
            if all(marks.get(MarkName(self._ids[tp.topic], tp.partition), 0) >= upto for tp, upto in at.items()):
                return
            if time.monotonic() > deadline:
                raise CannotCompare("ClickHouse does not come to the log's end; `animusic status` says how far it is")
            await asyncio.sleep(0.1)

    # ---- which events -------------------------------------------------------------------------------------------

    async def _explain(self) -> None:
        """Every difference in a register with the places of the records that wrote either value."""
        users = list(dict.fromkeys(user for _, user, *_ in self._pending))[:_EXPLAINED_USERS]
        places: dict[tuple[str, Slot, bytes], list[str]] = {}
        spans = {
            bounds.tp: (bounds.begin, bounds.upto)
            for bounds in self._bounds
            if self._strays & set(users) or bounds.partition in {partition_of(user, self._partitions) for user in users}
        }
        async for batch in records(self._settings.kafka, spans if users else {}):
            for record in batch:
                event = read(record)
                if event is not None and event.user_id in users:
                    _remember(places, event, f"{record.topic}/{record.partition}@{record.offset}")
        for store, user, slot, told, holds in self._pending:
            made = [place for value in (told, holds) if value for place in places.get((user, slot, value), ())]
            values = said(slot.register, told), said(slot.register, holds)
            self.report.add(Fault(store, "register differs", user, str(slot), *values, tuple(made)))


def _remember(places: dict[tuple[str, Slot, bytes], list[str]], event: Any, place: str) -> None:
    for write in writes(event):
        places.setdefault((event.user_id, slot_of(write), write.value), []).append(place)


def _joined(one: Folded | None, other: Folded | None) -> Folded:
    whole = Folded()
    for part in (one, other):
        if part is not None:
            whole.merge(part)
    return whole


def _forgotten_user(record: Any) -> str | None:
    try:
        found = PROFILE_VERSIONS.read(record.value) if record.value is not None else None
    except ValueError:
        return None
    return found.user_id if isinstance(found, Forgotten) else None


async def _letters(settings: Settings) -> Letters:
    """(topic, partition, offset) -> the steps that could not take the record that lies there."""
    found: dict[tuple[str, int, int], frozenset[str]] = {}
    for letter in (await read_dead_letters(settings.kafka)).by_id.values():
        for failure in letter.failures:
            place = (failure.place.topic, failure.place.partition, failure.place.offset)
            found[place] = found.get(place, frozenset()) | {failure.step}
    return found
