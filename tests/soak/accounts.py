"""The end of a run: what clients were told, against the topic, ClickHouse, the fold in Python and Redis."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.events import FeedbackEvent
from contracts.fold import Folded, fold, stored_fields
from contracts.ledger import is_probe
from contracts.topics import FEEDBACK, PLAYLISTS, PROFILES
from services.common.settings import Settings
from tests.soak.healing import warehouse_marks
from tests.support.agreement import (
    ask,
    dead_letters_in,
    feedback_in,
    folded_registers,
    ids_of,
    profiles_at_end,
    unreadable_in,
    warehouse_registers,
)
from tests.support.following import ends
from tests.support.ledger import Told
from tests.support.system import System
from tests.support.waiting import poll

STEPS = ("profiles", "warehouse")
QUIET_S = 300.0
_SHOWN = 20


@dataclass
class Line:
    """One line of the ledger.

    Attributes:
        lost: what was acknowledged and is not there; doubled: what is there more than once; strange: what nobody sent,
            or what differs. Each names the ids.
    """

    what: str
    count: int
    beside: str = ""
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not (self.lost or self.doubled or self.strange)

    def differences(self) -> list[str]:
        """The first ids of each kind, a line each."""
        kinds = {"lost": self.lost, "doubled": self.doubled, "strange": self.strange}
        return [f"{self.what}: {kind} {one}" for kind, ids in kinds.items() for one in ids[:_SHOWN]]


def accounts(system: System, told: Told, poison: Mapping[bytes, bytes]) -> list[Line]:
    """Wait until every store has come to the end of the log, and compare. Raises AssertionError when one does not."""
    settings = system.settings()
    redis = asyncio.run(profiles_at_end(settings, timeout=QUIET_S))
    wanted = asyncio.run(ends(settings.kafka))
    poll(
        lambda: all(warehouse_marks(system).get(name, 0) >= end for name, (end, _) in wanted.items()),
        timeout=QUIET_S, interval=0.5, what="ClickHouse has come to the log's end",
    )  # fmt: skip
    events, _ = asyncio.run(feedback_in(settings.kafka))
    folded = fold(events)
    acknowledged = Line("acknowledged to the clients", len(told.acknowledged), f"of {len(told.sent):,} sent")
    return [
        acknowledged,
        _topic(events, told),
        _refused(events, told),
        _clickhouse(settings, events, told),
        _registers(settings, folded),
        _redis(redis, folded),
        _playlists(settings, told),
        _letters(settings, poison),
    ]


def _topic(events: list[FeedbackEvent], told: Told) -> Line:
    own = [event for event in events if not is_probe(event.user_id)]
    ids = ids_of(own)
    probes = len(events) - len(own)
    beside = f"{len(own):,} records, {len(own) - len(ids):,} of them copies" + (
        f"; {probes:,} of the probe" * bool(probes)
    )
    return Line(
        "in the topic, distinct ids",
        len(ids),
        beside,
        lost=sorted(told.acknowledged - ids),
        strange=sorted(ids - told.sent),
    )


def _refused(events: list[FeedbackEvent], told: Told) -> Line:
    return Line(
        "refused for their time", len(told.refused), "none in the topic", strange=sorted(told.refused & ids_of(events))
    )


def _clickhouse(settings: Settings, events: list[FeedbackEvent], told: Told) -> Line:
    rows = [row["id"] for row in ask(settings, "SELECT toString(event_id) AS id FROM feedback_clean")]
    ids = set(rows)
    topic = ids_of(event for event in events if not is_probe(event.user_id))
    return Line(
        "in ClickHouse, rows of feedback_clean",
        len(rows),
        "against the topic and the clients",
        lost=sorted((told.acknowledged | topic) - ids),
        doubled=sorted(one for one, count in Counter(rows).items() if count > 1) if len(ids) < len(rows) else [],
        strange=sorted(ids - topic),
    )


def _registers(settings: Settings, folded: Mapping[str, Folded]) -> Line:
    found, expected = warehouse_registers(settings), folded_registers(folded)
    return _differing("registers of ClickHouse, listener and song", found, expected)


def _redis(found: Mapping[str, Mapping[bytes, bytes]], folded: Mapping[str, Folded]) -> Line:
    expected = {user: stored_fields(one) for user, one in folded.items()}
    line = _differing("fields of Redis, byte for byte", _flat(found), _flat(expected))
    line.beside = f"{len(found):,} listeners; against the fold in Python"
    return line


def _flat(users: Mapping[str, Mapping[bytes, bytes]]) -> dict[tuple[str, str], bytes]:
    return {
        (user, name.decode("utf-8", "replace")): value
        for user, fields in users.items()
        for name, value in fields.items()
    }


def _differing(what: str, found: Mapping[tuple[str, str], Any], expected: Mapping[tuple[str, str], Any]) -> Line:
    return Line(
        what,
        len(found),
        "against the fold in Python",
        lost=_names(expected.keys() - found.keys()),
        strange=_names(key for key, value in found.items() if expected.get(key) != value),
    )


def _names(keys: Iterable[tuple[str, str]]) -> list[str]:
    return sorted("/".join(key) for key in keys)


def _playlists(settings: Settings, told: Told) -> Line:
    rows = [
        row["id"] for row in ask(settings, "SELECT toString(playlist_id) AS id FROM playlists_clean WHERE revision = 0")
    ]
    return Line(
        "playlists answered, rows of playlists_clean",
        len(rows),
        f"{len(told.served):,} seen by the clients; the rest answered clients that had left, or health checks",
        lost=sorted(told.served - set(rows)),
        doubled=sorted(one for one, count in Counter(rows).items() if count > 1),
    )


def _letters(settings: Settings, poison: Mapping[bytes, bytes]) -> Line:
    lying = asyncio.run(unreadable_in(settings.kafka, (FEEDBACK.name, PLAYLISTS.name, PROFILES.name)))
    in_dlq = asyncio.run(dead_letters_in(settings.kafka))
    wanted = {(place, step) for place in lying for step in STEPS}
    found = {(dead_letter.place, dead_letter.step) for dead_letter in in_dlq}
    injected = [key for key, _ in lying.values()]
    changed = [
        dead_letter for dead_letter in in_dlq if lying.get(dead_letter.place) != (dead_letter.key, dead_letter.value)
    ]
    return Line(
        "dead letters, poisoned records named",
        len({dead_letter.place for dead_letter in in_dlq}),
        f"{len(poison):,} injected; {in_dlq.total():,} records of {len(STEPS)} consumers, with repetitions",
        lost=[*map(str, sorted(wanted - found)), *map(str, sorted(poison.keys() - set(injected)))],
        strange=[
            *map(str, sorted(found - wanted)),
            *(f"changed: {dead_letter.place}" for dead_letter in changed),
            *(f"not injected: {place}" for place, (key, value) in lying.items() if poison.get(key or b"") != value),
        ],
    )
