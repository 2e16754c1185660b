"""Dead letters: their ids, and what the headers of one, of a note on it and of a redriven record say.

A dead letter is the untouched bytes of a record that could have no effect. Its id is made of where that record was
first, so all consumers that could not read it, and every later attempt with it, name the same one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal

# Headers of a record that was appended to its topic again: its dead letter, and how often it had failed before.
REDRIVEN_LETTER: Final = "animusic-letter"
REDRIVEN_ATTEMPTS: Final = "animusic-attempts"
# A record of the dead-letter topic with this header is a note: that a dead letter was redriven or purged.
NOTE: Final = "note"
NOTE_HEADERS: Final[tuple[str, ...]] = (NOTE, "letter", "attempts", "to")
What = Literal["redriven", "purged"]
_DIGITS: Final = 12


def dead_letter_id(topic_id: str, topic: str, partition: int, offset: int) -> str:
    """12 hex digits for the place of a record. `topic_id` tells a topic from one of the same name before it."""
    place = f"{topic_id}/{topic}/{partition}/{offset}"
    return blake2b(place.encode(), digest_size=_DIGITS // 2).hexdigest()


@dataclass(frozen=True)
class Redriven:
    """What a record says of itself that came out of the dead letters: which it is, how often it failed."""

    letter: str
    attempts: int

    def headers(self) -> list[tuple[str, bytes]]:
        """As a record in its own topic carries them."""
        return [(REDRIVEN_LETTER, self.letter.encode()), (REDRIVEN_ATTEMPTS, str(self.attempts).encode())]


def redriven_of(headers: Iterable[tuple[str, bytes]]) -> Redriven | None:
    """What the headers of a record of any topic say of its dead letter; None when it was none."""
    found = dict(headers)
    if REDRIVEN_LETTER not in found:
        return None
    return Redriven(text(found[REDRIVEN_LETTER]), number(text(found.get(REDRIVEN_ATTEMPTS, b"")), 1))


def note_headers(what: What, letter: str, attempts: int, to: str) -> list[tuple[str, bytes]]:
    """A note: the dead letter, after `attempts` failures, was redriven `to` topic/partition@offset, or purged."""
    values = (what, letter, attempts, to)
    return [(name, str(value).encode()) for name, value in zip(NOTE_HEADERS, values, strict=True)]


def texts(headers: Iterable[tuple[str, bytes]]) -> Mapping[str, str]:
    """Headers as text, whatever their bytes are."""
    return {name: text(value) for name, value in headers}


def text(value: bytes | None) -> str:
    """A header's value; bytes that are no UTF-8 are shown as replaced."""
    return (value or b"").decode("utf-8", "replace")


def number(value: str, absent: int) -> int:
    """A header's value as a number of at least zero; `absent` for anything else."""
    return int(value) if value.isdecimal() and value.isascii() else absent
