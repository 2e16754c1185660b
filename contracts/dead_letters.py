"""Dead letters: their ids, and the headers of a dead letter, of its resolution and of a redriven record.

A dead letter holds the unchanged bytes of a record that a consumer could not process. Its id follows from the record's
first position, so all consumers that failed on it, and every later attempt, use the same id.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal

# Headers of a redriven record: the id of its dead letter, and the number of failures so far.
REDRIVEN_LETTER: Final = "animusic-letter"
REDRIVEN_ATTEMPTS: Final = "animusic-attempts"
# A record of the dead-letter topic with this header resolves a dead letter: it was redriven or purged.
NOTE: Final = "note"
NOTE_HEADERS: Final[tuple[str, ...]] = (NOTE, "letter", "attempts", "to")
What = Literal["redriven", "purged"]
_DIGITS: Final = 12


def dead_letter_id(topic_id: str, topic: str, partition: int, offset: int) -> str:
    """12 hex digits for a record's position. `topic_id` distinguishes a topic from an earlier one of the same name."""
    place = f"{topic_id}/{topic}/{partition}/{offset}"
    return blake2b(place.encode(), digest_size=_DIGITS // 2).hexdigest()


@dataclass(frozen=True)
class Redriven:
    """A redriven record's dead letter: its id, and how often the record failed."""

    letter: str
    attempts: int

    def headers(self) -> list[tuple[str, bytes]]:
        """The headers of the redriven record."""
        return [(REDRIVEN_LETTER, self.letter.encode()), (REDRIVEN_ATTEMPTS, str(self.attempts).encode())]


def redriven_of(headers: Iterable[tuple[str, bytes]]) -> Redriven | None:
    """The dead letter that a record's headers name; None if the record was not redriven."""
    found = dict(headers)
    if REDRIVEN_LETTER not in found:
        return None
    return Redriven(text(found[REDRIVEN_LETTER]), number(text(found.get(REDRIVEN_ATTEMPTS, b"")), 1))


def note_headers(what: What, letter: str, attempts: int, to: str) -> list[tuple[str, bytes]]:
    """Headers that resolve a dead letter after `attempts` failures: redriven `to` topic/partition@offset, or purged."""
    values = (what, letter, attempts, to)
    return [(name, str(value).encode()) for name, value in zip(NOTE_HEADERS, values, strict=True)]


def texts(headers: Iterable[tuple[str, bytes]]) -> Mapping[str, str]:
    """Headers as text; invalid UTF-8 is replaced."""
    return {name: text(value) for name, value in headers}


def text(value: bytes | None) -> str:
    """A header's value as text; invalid UTF-8 is replaced."""
    return (value or b"").decode("utf-8", "replace")


def number(value: str, absent: int) -> int:
    """A header's value as a number of at least zero; `absent` for anything else."""
    return int(value) if value.isdecimal() and value.isascii() else absent
