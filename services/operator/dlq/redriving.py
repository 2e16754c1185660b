"""Letters back into the log: checked, appended to their own topic, then noted.

The note follows the append: killed in between, a redrive appends the record a second time, which has no second effect
(the fold is idempotent by event id, rows are keyed by it). The other order could lose it.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from contracts.letters import Redriven, note_headers, text
from contracts.placement import partition_of
from contracts.topics import DEAD_LETTERS, TOPICS, Topic
from services.common.kafka import producer
from services.common.settings import KafkaSettings
from services.operator.dlq.checking import Candidate, newer_schema, refusals, said
from services.operator.dlq.editing import CannotEdit, Edit, untouched
from services.operator.dlq.letters import OPEN, Letter, Place, user_in
from services.operator.dlq.reading import last_of_keys, read_bytes

# A letter that failed so often is not fixed by trying: somebody has to look.
MOST_ATTEMPTS: Final = 5
_TOGETHER: Final = 500
_TOPICS: Final[dict[str, Topic]] = {topic.name: topic for topic in TOPICS}


@dataclass(frozen=True)
class Sent:
    """A letter and where its record lies now; `to` is None where it was only tried (`dry_run`)."""

    letter: Letter
    to: Place | None


@dataclass
class Outcome:
    """What came of each letter that was asked for: redriven, or kept and why."""

    redriven: list[Sent] = field(default_factory=list)
    kept: list[tuple[Letter, str]] = field(default_factory=list)


async def redrive(
    settings: KafkaSettings,
    letters: Sequence[Letter],
    edit: Edit = untouched,
    *,
    force: bool = False,
    again: bool = False,
    dry_run: bool = False,
    rate: float | None = None,
) -> Outcome:
    """Append the records of letters to their topics, in the order of the letters.

    Args:
        edit: what becomes of the value; `untouched` keeps every byte.
        force: also what a consumer would refuse again, what a newer record has replaced, and the often tried.
        again: also letters that were redriven before.
        dry_run: check everything, write nothing.
        rate: at most so many records a second, evenly; None: as fast as the log takes them.

    Raises KafkaError when the log does not take a record: what was appended before is noted or is appended again.
    """
    outcome = Outcome()
    asked = [letter for letter in letters if _is_due(letter, outcome, again=again)]
    pace = Pace(None if dry_run else rate)
    check = _Check(edit, None if force else await _newest(settings, asked), outcome)
    async with _Appender(settings, dry_run=dry_run) as appender:
        waiting: list[tuple[Letter, Candidate]] = []
        async for letter, key, value in read_bytes(settings, asked):
            candidate = await check.passed(letter, key, value)
            if candidate is not None:
                waiting.append((letter, candidate))
            if len(waiting) >= pace.together:
                outcome.redriven += await appender.append(waiting)
                await pace.keep(len(waiting))
                waiting = []
        outcome.redriven += await appender.append(waiting)
    return outcome


class Pace:
    """So many a second and no more. `together`: how many at once, half a second's at the most, so that it is even."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._began = time.monotonic()
        self._done = 0
        self.together = _TOGETHER if rate is None else max(1, min(_TOGETHER, int(rate / 2)))

    async def keep(self, done: int) -> None:
        """Wait until it is time for the next ones, `done` having been done."""
        self._done += done
        if self._rate is not None:
            await asyncio.sleep(max(0.0, self._began + self._done / self._rate - time.monotonic()))


def _is_due(letter: Letter, outcome: Outcome, *, again: bool) -> bool:
    if letter.state == OPEN or again:
        return True
    outcome.kept.append((letter, f"{letter.state} already; --again redrives it once more, which is harmless"))
    return False


async def _newest(settings: KafkaSettings, letters: Iterable[Letter]) -> dict[tuple[str, str], int]:
    """(topic, key) -> when its last record was logged, ms, in topics where the last record of a key is what counts."""
    by_topic: dict[str, set[str]] = {}
    for letter in letters:
        topic = _TOPICS.get(letter.last.place.topic)
        if topic is not None and topic.cleanup == "compact":
            by_topic.setdefault(topic.name, set()).add(text(letter.key))
    return {
        (topic, key): logged
        for topic, keys in by_topic.items()
        for key, logged in (await last_of_keys(settings, topic, keys)).items()
    }


@dataclass(frozen=True)
class _Check:
    """What stands between a letter and the log. `newest`: see `_newest`; None: nothing does (force)."""

    edit: Edit
    newest: dict[tuple[str, str], int] | None
    outcome: Outcome

    async def passed(self, letter: Letter, key: bytes | None, value: bytes | None) -> Candidate | None:
        """The record to append; None when the letter is kept, with the reason in the outcome."""
        place = letter.last.place
        try:
            edited = self.edit(value)
        except CannotEdit as error:
            self.outcome.kept.append((letter, str(error)))
            return None
        headers = tuple(Redriven(letter.id, letter.attempts).headers())
        candidate = Candidate(place.topic, place.partition, place.offset, letter.last.logged, key, edited, headers)
        reason = await self._objection(letter, candidate)
        if reason is not None:
            self.outcome.kept.append((letter, reason))
            return None
        return candidate

    async def _objection(self, letter: Letter, candidate: Candidate) -> str | None:
        if candidate.topic not in _TOPICS:
            return f"there is no topic {candidate.topic}"
        if (newer := newer_schema(candidate)) is not None:
            return newer
        if self.newest is None:
            return None
        reason = await self._refusal(letter, candidate, self.newest)
        return None if reason is None else f"{reason}; --force appends it all the same"

    async def _refusal(self, letter: Letter, candidate: Candidate, newest: dict[tuple[str, str], int]) -> str | None:
        if letter.attempts >= MOST_ATTEMPTS:
            return f"it has failed {letter.attempts} times"
        if newest.get((candidate.topic, text(candidate.key)), -1) > letter.last.logged:
            return f"a newer record of {text(candidate.key)} has replaced it"
        refused = await refusals(candidate)
        return said(refused) if refused else None


class _Appender:
    """Appends records and then their notes; with `dry_run` it only says what it would do."""

    def __init__(self, settings: KafkaSettings, *, dry_run: bool) -> None:
        self._producer: AIOKafkaProducer | None = None if dry_run else producer(settings)

    async def __aenter__(self) -> "_Appender":
        if self._producer is not None:
            await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def append(self, records: Sequence[tuple[Letter, Candidate]]) -> list[Sent]:
        """Return when all records and their notes are durable."""
        if self._producer is None:
            return [Sent(letter, None) for letter, _ in records]
        acknowledged = await self._send([await self._placed(candidate) for _, candidate in records])
        sent = [
            Sent(letter, Place(at.topic, at.partition, at.offset))
            for (letter, _), at in zip(records, acknowledged, strict=True)
        ]
        await self._send([_note(one) for one in sent])
        return sent

    async def _placed(self, candidate: Candidate) -> dict[str, Any]:
        """Where the record goes: to its user's shard as the topic is cut now; of other topics, to where it lay."""
        assert self._producer is not None
        partitions: Collection[int] = await self._producer.partitions_for(candidate.topic)
        user = _owner(candidate)
        placed = {"topic": candidate.topic, "value": candidate.value, "headers": list(candidate.headers)}
        if user is None:
            return {**placed, "key": candidate.key, "partition": min(candidate.partition, len(partitions) - 1)}
        return {**placed, "key": user.encode(), "partition": partition_of(user, len(partitions))}

    async def _send(self, records: Iterable[dict[str, Any]]) -> list[Any]:
        assert self._producer is not None
        sending = [await self._producer.send(**record) for record in records]
        return list(await asyncio.gather(*sending))


def _owner(candidate: Candidate) -> str | None:
    topic = _TOPICS.get(candidate.topic)
    if topic is None or topic.keyed_by != "user":
        return None
    return user_in(candidate.value) or text(candidate.key) or None


def _note(sent: Sent) -> dict[str, Any]:
    headers = note_headers("redriven", sent.letter.id, sent.letter.attempts, str(sent.to))
    now = int(time.time() * 1_000)
    return {
        "topic": DEAD_LETTERS.name, "value": None, "key": sent.letter.id.encode(), "partition": 0,
        "headers": headers, "timestamp_ms": now,
    }  # fmt: skip
