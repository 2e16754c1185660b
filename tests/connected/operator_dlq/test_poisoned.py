"""Poison among many events: the dead letters hold exactly it; mended and redriven twice, nothing tells that it failed.

ANIMUSIC_TEST_EVENTS and ANIMUSIC_TEST_POISONED make it larger: 100000 and 1000 are what is promised (R22).
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import pytest

from contracts.events import FeedbackEvent
from contracts.fold import fold
from services.common.clickhouse import DATABASE
from services.operator.dlq.editing import Edit, assignments
from services.operator.dlq.model import DeadLetter
from services.operator.dlq.redriving import redrive
from services.warehouse import rows
from services.warehouse.rows import Place
from tests.connected.operator_dlq.house import House
from tests.connected.warehouse import engine as shared
from tests.support.following import dead_letters, folded, profiles_in
from tests.support.histories import random_event

pytestmark = [pytest.mark.connected, pytest.mark.timeout(900)]

EVENTS = int(os.environ.get("ANIMUSIC_TEST_EVENTS", "10000"))
POISONED = int(os.environ.get("ANIMUSIC_TEST_POISONED", "100"))


class Poisoning(NamedTuple):
    """A way to spoil a record, the reason that must be given, and the words that mend it (none: its whole value)."""

    spoil: Callable[[bytes], bytes]
    reason: str
    mend: tuple[str, ...] = ()


def _with(**fields: Any) -> Callable[[bytes], bytes]:
    return lambda value: orjson.dumps({**orjson.loads(value), **fields})


POISONINGS = (
    Poisoning(_with(schema=0), "schema: Input should be 1", ("--set", "schema=1")),
    Poisoning(_with(rate="fast"), "rate: Input should be a valid number", ("--unset", "rate")),
    Poisoning(_with(hidden="perhaps"), "hidden: Input should be a valid boolean", ("--unset", "hidden")),
    Poisoning(lambda value: value[:-9], "Invalid JSON: EOF while parsing"),
    Poisoning(_with(event_id="x"), "event_id: Input should be a valid UUID"),
)
# What analysts see of an event or a register; where a row lies in the log is no part of it.
_PLACE = "topic_id, `partition`, `offset`, inserted_at"
VIEWS = {
    "feedback_clean": f"SELECT * EXCEPT ({_PLACE}) FROM animusic.feedback_clean ORDER BY ALL",
    "registers": "SELECT * FROM animusic.registers FINAL ORDER BY ALL",
    "vetoes": "SELECT * FROM animusic.vetoes FINAL ORDER BY ALL",
    "played": "SELECT * FROM animusic.played FINAL ORDER BY ALL",
    "slot_outcomes": "SELECT * FROM animusic.slot_outcomes FINAL ORDER BY ALL",
    "listener_songs": "SELECT * FROM animusic.listener_songs ORDER BY ALL",
    "exposure_curve": "SELECT * FROM animusic.exposure_curve ORDER BY ALL",
    "arm_engagement": "SELECT * FROM animusic.arm_engagement ORDER BY ALL",
}


def some_events(rng: random.Random) -> list[FeedbackEvent]:
    """Events of many users, each with an id of its own, with contradictions."""
    users = [f"poison-u{n}" for n in range(max(20, EVENTS // 50))]
    drawn = (random_event(rng, rng.choice(users)) for _ in range(EVENTS))
    return [event.model_copy(update={"event_id": UUID(int=rng.getrandbits(128))}) for event in drawn]


async def test_poison_is_found_exactly_and_mended_twice_it_leaves_no_trace(home: House) -> None:
    rng = random.Random(22)
    events = some_events(rng)
    spoiled = {at: POISONINGS[n % len(POISONINGS)] for n, at in enumerate(rng.sample(range(EVENTS), POISONED))}
    clock = _Clock()
    await home.put(
        (event.user_id, spoiled[at].spoil(event.log_value()) if at in spoiled else event.log_value())
        for at, event in enumerate(events)
    )
    await home.settled()
    clock.lap(f"{EVENTS} events, {POISONED} of them poisoned, read by both consumers")
    in_dlq = await _exactly_the_poison(home, events, spoiled)
    assert await profiles_in(home.redis) == folded(event for at, event in enumerate(events) if at not in spoiled)
    for poisoning in POISONINGS:
        await _mend(home, poisoning, events, again=False)
    assert {dead_letter.state for dead_letter in await home.dead_letters()} == {"redriven"}
    clock.lap("mended and redriven once")
    await home.settled()
    for poisoning in POISONINGS:
        await _mend(home, poisoning, events, again=True)
    await home.settled()
    clock.lap("redriven a second time, and read")
    assert len(await dead_letters(home.log)) == 4 * len(in_dlq)  # two steps failed, two redrives noted
    assert await profiles_in(home.redis) == folded(events)
    assert await home.clickhouse_holds(len(events) - POISONED + 2 * POISONED)
    _equals_a_run_that_never_failed(home, events)
    clock.lap("compared with a run that never failed: equal")


async def _exactly_the_poison(
    home: House, events: list[FeedbackEvent], spoiled: dict[int, Poisoning]
) -> list[DeadLetter]:
    """The letters, after checking that they are the poison and nothing else, each with its reason."""
    in_dlq = await home.dead_letters()
    assert Counter(dead_letter.steps for dead_letter in in_dlq) == {("profiles", "warehouse"): POISONED}
    wanted = Counter((events[at].user_id, poisoning.reason) for at, poisoning in spoiled.items())
    assert Counter((dead_letter.user, _known(dead_letter.reason)) for dead_letter in in_dlq) == wanted
    raw = {value for value, _ in await dead_letters(home.log)}
    assert raw == {poisoning.spoil(events[at].log_value()) for at, poisoning in spoiled.items()}
    return in_dlq


def _known(reason: str) -> str:
    return next((each.reason for each in POISONINGS if reason.startswith(each.reason)), reason)


async def _mend(home: House, poisoning: Poisoning, events: list[FeedbackEvent], *, again: bool) -> None:
    """Redrive the letters of one reason: many by the command and one edit, those without an edit by their bytes."""
    mine = [dead_letter for dead_letter in await home.dead_letters() if dead_letter.reason.startswith(poisoning.reason)]
    if poisoning.mend and not again:
        said = await home.animusic("dlq", "redrive", "--reason", poisoning.reason, *poisoning.mend)
        assert f"{len(mine):,} redriven, 0 kept" in said
        return
    outcome = await redrive(home.log, mine, _edit(poisoning, events), again=again)
    assert (len(outcome.redriven), outcome.kept) == (len(mine), [])


def _edit(poisoning: Poisoning, events: list[FeedbackEvent]) -> Edit:
    if poisoning.mend:
        option, word = poisoning.mend
        return assignments([word], []) if option == "--set" else assignments([], [word])
    whole = {poisoning.spoil(value): value for value in (event.log_value() for event in events)}
    return lambda value: whole[value or b""]


def _equals_a_run_that_never_failed(home: House, events: Iterable[FeedbackEvent]) -> None:
    seen = {view: home.ask(statement) for view, statement in VIEWS.items()}
    shared.empty(home.clickhouse)
    clean = [(Place("0" * 32, 0, offset, 0), event) for offset, event in enumerate(events)]
    home.clickhouse.insert(f"{DATABASE}.feedback", rows.feedback(clean))
    for view, statement in VIEWS.items():
        assert seen[view] == home.ask(statement), f"{view} tells that something failed"
    assert len(seen["feedback_clean"]) == len(clean)
    registers = {(row["user_id"], row["song_id"]) for row in seen["registers"]}
    wanted = fold(event for _, event in clean)
    assert registers == {(u, s) for u, found in wanted.items() for s in (*found.songs, *found.exposures)}


class _Clock:
    """Says how long each part took, for the run by hand (`pytest -s`)."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self, what: str) -> None:
        """One line."""
        now = time.monotonic()
        print(f"{now - self._last:7.1f} s  {what}")
        self._last = now
