"""From records of the dead-letter topic to dead letters, and whether they are resolved. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple

import orjson

from contracts.dead_letters import NOTE, dead_letter_id, number, text, texts
from contracts.topics import TOPICS

State = Literal["open", "redriven", "purged"]
OPEN: Final[State] = "open"
# A longer value is not searched for its user; the record's key still names it.
_LONGEST_SEARCHED: Final = 64 * 1024
USER_KEYED: Final = frozenset(topic.name for topic in TOPICS if topic.keyed_by == "user")


class Place(NamedTuple):
    """The place of the unreadable record."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


@dataclass(frozen=True)
class Failure:
    """One consumer that could not read the record, once.

    Attributes:
        at: offset of this record in the dead-letter topic.
        found: when it went there, ms.
        logged: the record's own timestamp, ms.
    """

    at: int
    found: int
    step: str
    reason: str
    place: Place
    logged: int
    attempts: int


@dataclass(frozen=True)
class DeadLetter:
    """One poisoned record, with all failures to read it.

    Attributes:
        key: the record's own.
        user: whom it is about, by the `user_id` in its value, else by its key; None when neither says.
        failures: in the order of the topic. Those of the newest attempt are the ones that count.
        resolved: the highest attempt that was redriven or purged, 0 for none. `note`: which, by the last note.
        to: where the record was redriven to.
    """

    id: str
    key: bytes | None
    user: str | None
    failures: tuple[Failure, ...]
    resolved: int = 0
    note: str = ""
    to: str = ""

    @property
    def attempts(self) -> int:
        """How often it has failed: 1, or more when it was redriven and failed again."""
        return max(failure.attempts for failure in self.failures)

    @property
    def state(self) -> State:
        """Open until a note resolves the newest attempt. A consumer that reads an old record again changes nothing."""
        if self.resolved < self.attempts:
            return OPEN
        return "purged" if self.note == "purged" else "redriven"

    @property
    def latest(self) -> tuple[Failure, ...]:
        """The failures of the newest attempt, the last of each step."""
        newest = {failure.step: failure for failure in self.failures if failure.attempts == self.attempts}
        return tuple(newest.values())

    @property
    def last(self) -> Failure:
        """The last failure, which has the current bytes."""
        return self.latest[-1]

    @property
    def steps(self) -> tuple[str, ...]:
        """The consumers that could not read it, sorted."""
        return tuple(sorted(failure.step for failure in self.latest))

    @property
    def reason(self) -> str:
        """The reason; where steps differ, each with its name."""
        reasons = dict.fromkeys(failure.reason for failure in self.latest)
        if len(reasons) == 1:
            return next(iter(reasons))
        return "; ".join(f"{failure.step}: {failure.reason}" for failure in self.latest)

    @property
    def first_found(self) -> int:
        """When it was first found, ms."""
        return self.failures[0].found


@dataclass
class DeadLetters:
    """All of the topic, folded in the order of the log. It holds no values: memory is bounded by the count.

    Attributes:
        by_id: in the order of their first failure.
        end: offset after the last record that was folded.
    """

    by_id: dict[str, DeadLetter] = field(default_factory=dict)
    end: int = 0

    def add(self, records: Iterable[Any]) -> None:
        """Fold records (aiokafka ConsumerRecord) in; other records are skipped."""
        for record in records:
            self.end = record.offset + 1
            headers = texts(record.headers)
            if NOTE in headers:
                self._resolve(headers)
            elif "topic" in headers:
                self._fail(record, headers)

    def _fail(self, record: Any, headers: Any) -> None:
        failure = Failure(
            at=record.offset,
            found=record.timestamp,
            step=headers.get("step", ""),
            reason=headers.get("reason", ""),
            place=Place(
                headers["topic"], number(headers.get("partition", ""), 0), number(headers.get("offset", ""), 0)
            ),
            logged=number(headers.get("time", ""), 0),
            attempts=number(headers.get("attempts", ""), 1) or 1,
        )
        name = headers.get("letter") or dead_letter_id(headers.get("topic_id", ""), *failure.place)
        known = self.by_id.get(name)
        if known is None:
            user = user_of(record.key, record.value) if failure.place.topic in USER_KEYED else None
            self.by_id[name] = DeadLetter(name, record.key, user, (failure,))
        else:
            self.by_id[name] = replace(known, failures=(*known.failures, failure))

    def _resolve(self, headers: Any) -> None:
        dead_letter = self.by_id.get(headers.get("letter", ""))
        if dead_letter is not None:
            resolved = max(dead_letter.resolved, number(headers.get("attempts", ""), 1))
            self.by_id[dead_letter.id] = replace(
                dead_letter, resolved=resolved, note=headers[NOTE], to=headers.get("to", "")
            )


def user_of(key: bytes | None, value: bytes | None) -> str | None:
    """Whom a record is about: by its value where that can be read, else by its key."""
    named = user_in(value)
    return named if named is not None else (text(key) or None)


def user_in(value: bytes | None) -> str | None:
    """The `user_id` that a JSON object names; None where it is none, or names none."""
    if value is None or len(value) > _LONGEST_SEARCHED or b'"user_id"' not in value:
        return None
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    user = found.get("user_id") if isinstance(found, dict) else None
    return user if isinstance(user, str) else None
