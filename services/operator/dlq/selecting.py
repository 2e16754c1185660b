"""Filters dead letters, and groups them by reason and by hour. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from services.operator.dlq.model import DeadLetter, State

_AGE: Final = re.compile(r"(\d+)([smhd])")
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LEAST_PREFIX: Final = 4
_HOUR_MS: Final = 3_600_000
# Positions in a record are ignored when reasons are grouped.
_SPOT: Final = re.compile(r"\b(line|column|index) \d+")


@dataclass(frozen=True)
class Filter:
    """Every part that is given must hold.

    Attributes:
        ids: of dead letters, or beginnings of at least 4 digits of them.
        states: of which states; empty for all.
        reason: a part of the reason, in any case.
        topic, step: exactly that original topic, that consumer.
        since, until: when it was last found, ms; `until` is not included.
        user: whom the record is about.
        offsets: only those at these offsets of the dead-letter topic.
        limit: at most so many, the oldest first.
    """

    ids: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    reason: str | None = None
    topic: str | None = None
    step: str | None = None
    since: int | None = None
    until: int | None = None
    user: str | None = None
    offsets: tuple[int, ...] = ()
    limit: int | None = None

    def takes(self, dead_letter: DeadLetter) -> bool:
        """Whether a dead letter is meant, the limit aside."""
        last = dead_letter.last
        return all(
            (
                not self.ids or any(dead_letter.id.startswith(asked) for asked in self.ids),
                not self.states or dead_letter.state in self.states,
                self.reason is None or self.reason.lower() in dead_letter.reason.lower(),
                self.topic is None or self.topic == last.place.topic,
                self.step is None or self.step in dead_letter.steps,
                self.since is None or last.found >= self.since,
                self.until is None or last.found < self.until,
                self.user is None or self.user == dead_letter.user,
                not self.offsets or any(failure.at in self.offsets for failure in dead_letter.failures),
            )
        )

    def of(self, dead_letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        """Those that are meant, the oldest first. Raises LookupError for an id that is none, or that is two."""
        found = sorted(
            (dead_letter for dead_letter in dead_letters if self.takes(dead_letter)),
            key=lambda dead_letter: dead_letter.last.at,
        )
        for asked in self.ids:
            _check_id(asked, [dead_letter.id for dead_letter in found if dead_letter.id.startswith(asked)])
        return found if self.limit is None else found[: self.limit]


def _check_id(asked: str, found: list[str]) -> None:
    if not found:
        raise LookupError(f"no dead letter {asked} matches the other options; `animusic dlq list` lists them")
    if len(found) > 1 or (len(asked) < _LEAST_PREFIX and asked not in found):
        raise LookupError(f"{asked} matches {len(found)} dead letters: give more digits ({', '.join(found[:3])})")


def moment(text: str, now_ms: int) -> int:
    """A time that a user typed, in ms: `90m`, `2h`, `3d` ago; an ISO time (UTC where it says no zone); `now`; or ms.

    Raises ValueError that says what is understood.
    """
    if text == "now":
        return now_ms
    if age := _AGE.fullmatch(text):
        return now_ms - int(age[1]) * _UNIT_MS[age[2]]
    if text.isdecimal() and len(text) >= 12:
        return int(text)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text} is not a time; write 2026-11-23T07:00, 2h (two hours ago), now, or milliseconds"
        ) from None
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1_000)


@dataclass(frozen=True)
class Group:
    """Dead letters of one reason (but for where in a record), topic and set of steps. `example`: the newest's id."""

    reason: str
    topic: str
    steps: tuple[str, ...]
    count: int
    states: dict[str, int]
    first: int
    last: int
    example: str


def groups(dead_letters: Iterable[DeadLetter]) -> list[Group]:
    """Dead letters by reason, topic and steps; the largest group first."""
    found: dict[tuple[str, str, tuple[str, ...]], list[DeadLetter]] = {}
    for dead_letter in dead_letters:
        found.setdefault(
            (_SPOT.sub(r"\1 …", dead_letter.reason), dead_letter.last.place.topic, dead_letter.steps), []
        ).append(dead_letter)
    made = [_group(*about, members) for about, members in found.items()]
    return sorted(made, key=lambda group: (-group.count, group.reason))


def _group(reason: str, topic: str, steps: tuple[str, ...], members: Sequence[DeadLetter]) -> Group:
    states = Counter(dead_letter.state for dead_letter in members)
    newest = max(members, key=lambda dead_letter: dead_letter.last.at)
    first = min(dead_letter.first_found for dead_letter in members)
    return Group(reason, topic, steps, len(members), dict(sorted(states.items())), first, newest.last.found, newest.id)


def by_hour(dead_letters: Iterable[DeadLetter]) -> dict[int, int]:
    """Start of each hour (ms, UTC) between the first and the last -> those first found in it, zeros included."""
    counts = Counter(dead_letter.first_found // _HOUR_MS for dead_letter in dead_letters)
    if not counts:
        return {}
    return {hour * _HOUR_MS: counts[hour] for hour in range(min(counts), max(counts) + 1)}


def as_json(dead_letter: DeadLetter) -> dict[str, Any]:
    """A dead letter for scripts: times in ms."""
    last = dead_letter.last
    return {
        "letter": dead_letter.id,
        "state": dead_letter.state,
        "attempts": dead_letter.attempts,
        "reason": dead_letter.reason,
        "steps": list(dead_letter.steps),
        "topic": last.place.topic,
        "partition": last.place.partition,
        "offset": last.place.offset,
        "logged": last.logged,
        "buried": last.found,
        "at": last.at,
        "user": dead_letter.user,
        "redriven_to": dead_letter.to or None,
    }


def clock(ms: int) -> str:
    """A time for people, UTC."""
    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
