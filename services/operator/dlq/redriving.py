"""Redrives dead letters: checks them with the consumers' own code, appends them to their topic, then notes it.

The note follows the append: killed in between, a redrive appends the record a second time, which has no second effect
(the fold is idempotent by event id, rows are keyed by it). The other order could lose it.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from pydantic import ValidationError

from contracts.dead_letters import Redriven, note_headers, text
from contracts.evolution.versions import NewerSchema
from contracts.placement import partition_of
from contracts.records import VERSIONS, read_record
from contracts.topics import DEAD_LETTERS, FEEDBACK, PLAYLISTS, PROFILES, TOPICS, Topic
from services.common.kafka import producer
from services.common.kafka.consuming.model import Poison, Unflushable
from services.common.settings import KafkaSettings
from services.operator.dlq.editing import CannotEdit, Edit, untouched
from services.operator.dlq.log import last_of_keys, read_bytes
from services.operator.dlq.model import OPEN, USER_KEYED, DeadLetter, Place, user_of
from services.profiles.writes import effect_of
from services.rebuild.pacing import Pace
from services.warehouse.rows import Place as RowPlace
from services.warehouse.sink import TOPICS as WAREHOUSE_TOPICS
from services.warehouse.sink import read_value, rows_of

# After so many failures a retry does not help: an operator must look.
MOST_ATTEMPTS: Final = 5
_TOGETHER: Final = 500
_TOPICS: Final[dict[str, Topic]] = {topic.name: topic for topic in TOPICS}
# (topic, key) -> time (ms) of its last record, in topics where the last record of a key is what counts.
_Newest = dict[tuple[str, str], int]
# As in services.profiles.app, without importing its consumer; a test compares the two.
PROFILES_TOPICS: Final = frozenset({FEEDBACK.name, PROFILES.name, PLAYLISTS.name})


@dataclass(frozen=True)
class Candidate:
    """A record as a consumer would get it. `offset`: of its dead letter, as it has no place of its own yet."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def newer_schema(candidate: Candidate) -> str | None:
    """Why this record would stop the consumers until they are upgraded; None when it would not."""
    if candidate.value is None or candidate.topic not in VERSIONS:
        return None
    try:
        read_record(candidate.topic, candidate.value)
    except NewerSchema as newer:
        return str(newer)
    except ValidationError:
        return None
    return None


def refusals(candidate: Candidate) -> dict[str, str]:
    """Step -> why it would send this record to the dead letters; empty when every step would accept it.

    Faults that only the store finds are unknown here. Every step accepts a topic that no consumer follows.
    """
    found = {}
    if candidate.topic in PROFILES_TOPICS:
        effect = effect_of(candidate)
        if isinstance(effect, Poison):
            found["profiles"] = effect.reason
    if candidate.topic in WAREHOUSE_TOPICS:
        value = read_value(candidate.topic, candidate.value)
        place = RowPlace("0" * 32, candidate.partition, candidate.offset, candidate.timestamp)
        try:
            if isinstance(value, Poison):
                raise Unflushable(value.reason)
            rows_of([(place, value)])
        except Unflushable as fault:
            found["warehouse"] = str(fault)
    return found


def sentence_of(refused: Mapping[str, str]) -> str:
    """One sentence of `refusals`."""
    reasons = set(refused.values())
    if len(reasons) == 1:
        return f"{' and '.join(sorted(refused))} would refuse it again: {reasons.pop()}"
    return "; ".join(f"{step} would refuse it again: {reason}" for step, reason in sorted(refused.items()))


class Sent(NamedTuple):
    """A dead letter and where its record is now; `to` is None where it was only tried (`dry_run`)."""

    dead_letter: DeadLetter
    to: Place | None


@dataclass
class Outcome:
    """The result for each selected dead letter: redriven, or kept with the reason."""

    redriven: list[Sent] = field(default_factory=list)
    kept: list[tuple[DeadLetter, str]] = field(default_factory=list)


async def redrive(
    settings: KafkaSettings,
    dead_letters: Sequence[DeadLetter],
    edit: Edit = untouched,
    *,
    force: bool = False,
    again: bool = False,
    dry_run: bool = False,
    rate: float | None = None,
) -> Outcome:
    """Append the records of dead letters to their topics, in the order given.

    Args:
        edit: what becomes of the value; `untouched` keeps every byte.
        force: also what a consumer would refuse again, what a newer record has replaced, and the often tried.
        again: also what was redriven before.
        dry_run: check everything, write nothing.
        rate: at most so many records a second, evenly; None: as fast as the log takes them.

    Raises KafkaError when the log does not take a record: what was appended before is noted or is appended again.
    """
    outcome = Outcome()
    due = [dead_letter for dead_letter in dead_letters if again or dead_letter.state == OPEN]
    done = "already {}; --again redrives it once more, which is harmless"
    outcome.kept += [
        (dead_letter, done.format(dead_letter.state))
        for dead_letter in dead_letters
        if not again and dead_letter.state != OPEN
    ]
    newest = None if force else await _newest(settings, due)
    pace = Pace(None if dry_run else rate, burst_seconds=0)
    together = _TOGETHER if rate is None else max(1, min(_TOGETHER, int(rate / 2)))
    async with contextlib.AsyncExitStack() as stack:
        writing = None if dry_run else await stack.enter_async_context(producer(settings))
        batch: list[tuple[DeadLetter, Candidate]] = []
        async for dead_letter, key, value in read_bytes(settings, due):
            try:
                candidate = _candidate(dead_letter, key, edit(value))
                reason = _objection(dead_letter, candidate, newest)
            except CannotEdit as error:
                reason = str(error)
            if reason is not None:
                outcome.kept.append((dead_letter, reason))
                continue
            batch.append((dead_letter, candidate))
            if len(batch) >= together:
                outcome.redriven += await _append(writing, batch)
                await pace.keep(len(batch))
                batch = []
        outcome.redriven += await _append(writing, batch)
    return outcome


async def _newest(settings: KafkaSettings, dead_letters: Iterable[DeadLetter]) -> _Newest:
    by_topic: dict[str, set[str]] = {}
    for dead_letter in dead_letters:
        topic = _TOPICS.get(dead_letter.last.place.topic)
        if topic is not None and topic.cleanup == "compact":
            by_topic.setdefault(topic.name, set()).add(text(dead_letter.key))
    return {
        (topic, key): logged
        for topic, keys in by_topic.items()
        for key, logged in (await last_of_keys(settings, topic, keys)).items()
    }


def _candidate(dead_letter: DeadLetter, key: bytes | None, value: bytes | None) -> Candidate:
    headers = tuple(Redriven(dead_letter.id, dead_letter.attempts).headers())
    return Candidate(*dead_letter.last.place, dead_letter.last.logged, key, value, headers)


def _objection(dead_letter: DeadLetter, candidate: Candidate, newest: _Newest | None) -> str | None:
    """Why a record must not be appended, or None. Without `newest` (force): only reasons that force cannot override."""
    if candidate.topic not in _TOPICS:
        return f"there is no topic {candidate.topic}"
    reason = newer_schema(candidate)
    if reason is not None or newest is None:
        return reason
    if dead_letter.attempts >= MOST_ATTEMPTS:
        reason = f"it has failed {dead_letter.attempts} times"
    elif newest.get((candidate.topic, text(candidate.key)), -1) > dead_letter.last.logged:
        reason = f"a newer record of {text(candidate.key)} has replaced it"
    elif refused := refusals(candidate):
        reason = sentence_of(refused)
    return None if reason is None else f"{reason}; --force appends it anyway"


async def _append(writing: AIOKafkaProducer | None, records: Sequence[tuple[DeadLetter, Candidate]]) -> list[Sent]:
    """Return when all records and their notes are durable. Without a producer nothing is written."""
    if writing is None:
        return [Sent(dead_letter, None) for dead_letter, _ in records]
    acknowledged = await _send(writing, [await _placed(writing, candidate) for _, candidate in records])
    sent = [
        Sent(dead_letter, Place(at.topic, at.partition, at.offset))
        for (dead_letter, _), at in zip(records, acknowledged, strict=True)
    ]
    await _send(writing, [_note(one) for one in sent])
    return sent


async def _placed(writing: AIOKafkaProducer, candidate: Candidate) -> dict[str, Any]:
    """The target of the record: its user's current partition, or in other topics the partition it had."""
    partitions = len(await writing.partitions_for(candidate.topic))
    user = (user_of(candidate.key, candidate.value) or text(candidate.key)) if candidate.topic in USER_KEYED else ""
    placed = {"topic": candidate.topic, "value": candidate.value, "headers": list(candidate.headers)}
    if not user:
        return {**placed, "key": candidate.key, "partition": min(candidate.partition, partitions - 1)}
    return {**placed, "key": user.encode(), "partition": partition_of(user, partitions)}


async def _send(writing: AIOKafkaProducer, records: Iterable[dict[str, Any]]) -> list[Any]:
    return list(await asyncio.gather(*[await writing.send(**record) for record in records]))


def _note(sent: Sent) -> dict[str, Any]:
    headers = note_headers("redriven", sent.dead_letter.id, sent.dead_letter.attempts, str(sent.to))
    key = sent.dead_letter.id.encode()
    return {"topic": DEAD_LETTERS.name, "value": None, "key": key, "partition": 0, "headers": headers}
