"""One verification: bounds that both stores have reached, the log read once, both stores held against it.

Everything may move meanwhile. A user who differs is compared again, a few times, once the store has reached the log's
end, with what the log has got of the user meanwhile. Rows have offsets: those before the bounds count.
"""

import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from aiokafka import TopicPartition

from contracts.fold import Folded, writes
from contracts.placement import partition_of
from contracts.profiles import Forgotten
from contracts.records import PROFILE_VERSIONS
from contracts.topics import FEEDBACK, PROFILES
from services.common.redis import connect
from services.common.settings import KafkaSettings, Settings
from services.operator.dlq.log import read_dead_letters
from services.operator.readers.clickhouse import ClickhouseReader, warehouse_answers
from services.operator.readers.log import Offsets, Spans, offsets, records
from services.operator.readers.redis import ProfilesReader
from services.operator.verify.folding import Folds, PartitionFold, folds_of, read
from services.operator.verify.lists import check_lists
from services.operator.verify.model import (
    ROUNDS,
    CannotCompare,
    Comparison,
    Fault,
    Progress,
    Report,
    Sample,
    Store,
    place_of,
)
from services.operator.verify.registers import Slot, described, differences, folded_of, folds_in, joined, slot_of
from services.operator.verify.tables import check_catalogue, check_outcomes, check_rows

_REACH_SECONDS: Final = 60.0
_ASK_SECONDS: Final = 60.0
# A warehouse that is starting listens within these.
_LISTEN_SECONDS: Final = 20.0
_EXPLAINED_USERS: Final = 50
_USERS: Final = "SELECT uniq(user_id) AS listeners FROM animusic.feedback"
_FORGOTTEN: Final = "SELECT DISTINCT user_id FROM animusic.forgotten"


async def verify(
    settings: Settings,
    sample: Sample,
    tell: Progress = lambda phase, done, total: None,
    *,
    seconds: float = _REACH_SECONDS,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Compare everything. `seconds`: how long stores are waited for that are behind the log.

    Raises CannotCompare, and what the three stores' clients raise when one is away.
    """
    began, report = time.monotonic(), Report(sample.share if not sample.users else 0.0)
    try:
        await warehouse_answers(settings.clickhouse, min(seconds, _LISTEN_SECONDS), say)
    except ConnectionError as silent:
        raise CannotCompare(str(silent)) from silent
    async with (
        aclosing(connect(settings.redis)) as redis,
        aclosing(ClickhouseReader(settings.clickhouse, _ASK_SECONDS)) as warehouse,
    ):
        profiles, refused = await ProfilesReader.live(redis), await _refused(settings.kafka)
        run = Comparison(settings.kafka, profiles, warehouse, report, sample, seconds, tell, refused)
        log = await offsets(run.kafka, [FEEDBACK.name, PROFILES.name])
        await run.reached(log, "redis", "clickhouse")
        await _Verification(run, log).run()
    report.seconds = time.monotonic() - began
    return report


class _Verification:
    """One run, up to these bounds, which both stores have reached."""

    def __init__(self, run: Comparison, log: Offsets) -> None:
        self._run = run
        self._log = log
        self._spans = log.spans(FEEDBACK.name)
        self._known: set[str] = set()
        self._moved: set[str] = set()
        self._pending: list[tuple[Store, str, Slot, bytes | None, bytes | None]] = []

    async def run(self) -> None:
        run = self._run
        await self._widen()
        await self._check_forgotten()
        for done, tp in enumerate(self._spans):
            run.tell("partitions", done, len(self._spans))
            await self._check_partition(tp)
        if self._moved:
            # The topic had fewer partitions once, so these users' records lie in several: the log is read again.
            await self._check_users(self._moved, await folds_of(run, self._spans, self._moved), self._spans)
        await self._check_extra_users()
        await check_lists(run)
        # Not of users whose rows are wrong already: their outcomes would repeat those faults.
        wrong = {fault.user for fault in run.report.faults if fault.kind in ("row missing", "row doubled", "extra row")}
        await check_outcomes(run, self._known - run.forgotten - wrong)
        await check_catalogue(run)
        await self._explain()

    async def _widen(self) -> None:
        """Set a minimum number of listeners. A store that lost listeners does not make the sample smaller."""
        run = self._run
        known = {user async for user in run.profiles.users()} | {user async for user in run.profiles.users("h")}
        (row,) = await run.warehouse.arrow(_USERS)
        run.report.listeners = max(len(known), int(row["listeners"]))
        run.sample = run.sample.of(run.report.listeners)
        run.report.sample = 0.0 if run.sample.users else run.sample.share

    async def _check_forgotten(self) -> None:
        run = self._run
        async for record in records(run.kafka, self._log.spans(PROFILES.name)):
            user = _forgotten_user(record)
            if user is not None and run.sample.holds(user):
                run.forgotten.add(user)
        stored = await run.profiles.stored(run.forgotten)
        in_clickhouse = {row["user_id"] for row in await run.warehouse.arrow(_FORGOTTEN)}
        stores: dict[Store, set[str]] = {"redis": await run.profiles.forgotten(), "clickhouse": in_clickhouse}
        for user in sorted(run.forgotten):
            if stored[user]:
                run.report.add(Fault("redis", "forgotten user still there", user))
            for store, gone in stores.items():
                if user not in gone:
                    run.report.add(Fault(store, "forgetting missing", user))

    async def _check_partition(self, tp: TopicPartition) -> None:
        run, span, partitions = self._run, self._spans[tp], len(self._spans)
        expected = PartitionFold(run, lambda user: partition_of(user, partitions) == tp.partition)
        async for record in records(run.kafka, {tp: span}):
            expected.add(record)
        if span[0]:
            note = f"{tp.topic}/{tp.partition} begins at offset {span[0]}; what lies before is not compared"
            run.report.notes.append(note)
        await check_rows(run, self._log.ids[tp.topic], tp, span, expected)
        self._moved |= expected.moved
        users = (expected.folds.redis.keys() | expected.folds.clickhouse.keys()) - self._moved
        self._known |= users | expected.moved
        await self._check_users(users, expected.folds, {tp: span})

    async def _check_users(self, users: set[str], folds: Folds, spans: Spans) -> None:
        self._run.report.users += len(users)
        self._run.report.registers += sum(
            len(folded.songs) + len(folded.vetoes) + len(folded.exposures) + len(folded.played)
            for folded in folds.clickhouse.values()
        )
        await self._check_store("redis", users - self._run.forgotten, folds.redis, spans)
        await self._check_store("clickhouse", users, folds.clickhouse, spans)

    async def _check_store(self, store: Store, users: set[str], expected: dict[str, Folded], spans: Spans) -> None:
        run, left = self._run, users
        log = {user: expected.get(user, Folded()) for user in users}
        at = {tp: upto for tp, (_, upto) in spans.items()}
        for _ in range(ROUNDS):
            held = await self._folds_in(store, left)
            left = {user for user in left if differences(log[user], held.get(user, Folded()))}
            if not left:
                return
            now = await offsets(run.kafka, [FEEDBACK.name])
            folds = await folds_of(run, {tp: (upto, now.ends[tp]) for tp, upto in at.items()}, left)
            newer = folds.redis if store == "redis" else folds.clickhouse
            # The store had come to `at`: a user who wrote nothing since then differs for good.
            for user in sorted(left - newer.keys()):
                self._note(store, user, log[user], held.get(user, Folded()), spans)
            # What the others wrote meanwhile may be in the store, or a part of it: wait for all of it, and ask again.
            left &= newer.keys()
            if not left:
                return
            log.update((user, joined(log[user], newer[user])) for user in left)
            at = {tp: now.ends[tp] for tp in at}
            await run.reached(replace(now, ends=at), store)
        run.report.unsettle(left)

    async def _folds_in(self, store: Store, users: set[str]) -> dict[str, Folded]:
        if store == "clickhouse":
            return await folds_in(self._run.warehouse, users)
        return {user: folded_of(fields) for user, fields in (await self._run.profiles.stored(users)).items()}

    async def _check_extra_users(self) -> None:
        """Users in Redis that the log lacks; new users are searched after the bounds."""
        run, known = self._run, self._known | self._run.forgotten
        extra = {user async for user in run.profiles.users() if run.sample.holds(user) and user not in known}
        if not extra or any(begin for begin, _ in self._spans.values()):
            return
        stored = await run.profiles.stored(extra)
        ends = (await offsets(run.kafka, [FEEDBACK.name])).ends
        came = await folds_of(run, {tp: (upto, ends[tp]) for tp, (_, upto) in self._spans.items()}, extra)
        for user in sorted(extra - came.redis.keys()):
            if any(name[:1] in (b"s", b"v") for name in stored[user]):
                run.report.add(Fault("redis", "extra user", user, store_holds=f"{len(stored[user])} fields"))

    # ---- which events -------------------------------------------------------------------------------------------

    def _note(self, store: Store, user: str, log: Folded, held: Folded, spans: Spans) -> None:
        """Keep differences. Where the log's start has expired, a store may hold more."""
        if store == "redis" and log.songs | log.vetoes and not held.songs | held.vetoes:
            self._run.report.add(Fault("redis", "user missing", user))
            return
        partial = any(begin for begin, _ in spans.values())
        for slot, expected, holds in differences(log, held):
            if partial and holds is not None and (expected is None or slot.register.merge(expected, holds) == holds):
                continue
            self._pending.append((store, user, slot, expected, holds))

    async def _explain(self) -> None:
        """Every difference in a register with the places of the records that wrote either value."""
        users = list(dict.fromkeys(user for _, user, *_ in self._pending))[:_EXPLAINED_USERS]
        places: dict[tuple[str, Slot, bytes], list[str]] = {}
        partitions = {partition_of(user, len(self._spans)) for user in users}
        everywhere = bool(self._moved & set(users))
        spans = {tp: span for tp, span in self._spans.items() if everywhere or tp.partition in partitions}
        async for record in records(self._run.kafka, spans):
            event = read(record)
            if event is not None and event.user_id in users:
                for write in writes(event):
                    places.setdefault((event.user_id, slot_of(write), write.value), []).append(place_of(record))
        for store, user, slot, *values in self._pending:
            made = [place for value in values if value for place in places.get((user, slot, value), ())]
            expected, holds = (described(slot.register, value) for value in values)
            self._run.report.add(Fault(store, "register differs", user, str(slot), expected, holds, tuple(made)))


def _forgotten_user(record: Any) -> str | None:
    try:
        found = PROFILE_VERSIONS.read(record.value) if record.value is not None else None
    except ValueError:
        return None
    return found.user_id if isinstance(found, Forgotten) else None


async def _refused(settings: KafkaSettings) -> dict[tuple[str, int, int], frozenset[str]]:
    """(topic, partition, offset) -> the steps that could not take the record that lies there."""
    found: dict[tuple[str, int, int], frozenset[str]] = {}
    for dead_letter in (await read_dead_letters(settings)).by_id.values():
        for failure in dead_letter.failures:
            place = failure.place.topic, failure.place.partition, failure.place.offset
            found[place] = found.get(place, frozenset()) | {failure.step}
    return found
