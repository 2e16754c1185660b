"""Many letters in few lines: by reason, and by hour. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from services.operator.dlq.letters import Letter

_HOUR_MS: Final = 3_600_000
# Where in a record the fault lies tells records apart, not reasons.
_SPOT: Final = re.compile(r"\b(line|column|index) \d+")


@dataclass(frozen=True)
class Group:
    """Letters of one reason (but for where in a record), topic and set of steps. `example`: the newest letter's id."""

    reason: str
    topic: str
    steps: tuple[str, ...]
    count: int
    states: dict[str, int]
    first: int
    last: int
    example: str


def groups(letters: Iterable[Letter]) -> list[Group]:
    """Letters by reason, topic and steps; the largest group first."""
    found: dict[tuple[str, str, tuple[str, ...]], list[Letter]] = {}
    for letter in letters:
        found.setdefault((_SPOT.sub(r"\1 …", letter.reason), letter.last.place.topic, letter.steps), []).append(letter)
    made = [_group(*about, members) for about, members in found.items()]
    return sorted(made, key=lambda group: (-group.count, group.reason))


def _group(reason: str, topic: str, steps: tuple[str, ...], members: Sequence[Letter]) -> Group:
    states = Counter(letter.state for letter in members)
    newest = max(members, key=lambda letter: letter.last.at)
    first = min(letter.first_buried for letter in members)
    return Group(reason, topic, steps, len(members), dict(sorted(states.items())), first, newest.last.buried, newest.id)


def by_hour(letters: Iterable[Letter]) -> dict[int, int]:
    """Start of each hour (ms, UTC) between the first and the last -> letters first found in it, zeros included."""
    counts = Counter(letter.first_buried // _HOUR_MS for letter in letters)
    if not counts:
        return {}
    return {hour * _HOUR_MS: counts[hour] for hour in range(min(counts), max(counts) + 1)}


def as_json(letter: Letter) -> dict[str, Any]:
    """A letter for scripts: times in ms."""
    last = letter.last
    return {
        "letter": letter.id,
        "state": letter.state,
        "attempts": letter.attempts,
        "reason": letter.reason,
        "steps": list(letter.steps),
        "topic": last.place.topic,
        "partition": last.place.partition,
        "offset": last.place.offset,
        "logged": last.logged,
        "buried": last.buried,
        "at": last.at,
        "user": letter.user,
        "redriven_to": letter.to or None,
    }


def clock(ms: int) -> str:
    """A time for people, UTC."""
    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
