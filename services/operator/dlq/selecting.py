"""Which letters are meant. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from services.operator.dlq.letters import Letter, State

_AGE: Final = re.compile(r"(\d+)([smhd])")
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LEAST_PREFIX: Final = 4


@dataclass(frozen=True)
class Filter:
    """Every part that is given must hold.

    Attributes:
        ids: letter ids, or beginnings of at least 4 digits of them.
        states: of which states; empty for all.
        reason: a part of the reason, in any case.
        topic, step: exactly that original topic, that consumer.
        since, until: when the letter was last buried, ms; `until` is not included.
        user: whom the record is about.
        offsets: only letters that lie at these offsets of the dead-letter topic.
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

    def takes(self, letter: Letter) -> bool:
        """Whether a letter is meant, the limit aside."""
        last = letter.last
        return all(
            (
                not self.ids or any(letter.id.startswith(asked) for asked in self.ids),
                not self.states or letter.state in self.states,
                self.reason is None or self.reason.lower() in letter.reason.lower(),
                self.topic is None or self.topic == last.place.topic,
                self.step is None or self.step in letter.steps,
                self.since is None or last.buried >= self.since,
                self.until is None or last.buried < self.until,
                self.user is None or self.user == letter.user,
                not self.offsets or any(failure.at in self.offsets for failure in letter.failures),
            )
        )

    def of(self, letters: Iterable[Letter]) -> list[Letter]:
        """The letters that are meant, the oldest first. Raises LookupError for an id that is none, or that is two."""
        found = sorted((letter for letter in letters if self.takes(letter)), key=lambda letter: letter.last.at)
        for asked in self.ids:
            _check_id(asked, [letter.id for letter in found if letter.id.startswith(asked)])
        return found if self.limit is None else found[: self.limit]


def _check_id(asked: str, found: list[str]) -> None:
    if not found:
        raise LookupError(f"no letter {asked} among those that the other options leave; `animusic dlq list` names them")
    if len(found) > 1 or (len(asked) < _LEAST_PREFIX and asked not in found):
        raise LookupError(
            f"{asked} is the beginning of {len(found)} letters: give more digits ({', '.join(found[:3])})"
        )


def moment(text: str, now_ms: int) -> int:
    """A time that somebody typed, in ms: `90m`, `2h`, `3d` ago; an ISO time (UTC where it says no zone); `now`; or ms.

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
            f"{text} is no time; write 2026-11-23T07:00, 2h (two hours ago), now, or milliseconds"
        ) from None
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1_000)
