"""Checks whether the consumers would accept a record now, with their own code and without their stores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from contracts.evolution.versions import NewerSchema
from contracts.records import VERSIONS, read_record
from contracts.topics import FEEDBACK, PLAYLISTS, PROFILES
from services.common.kafka.consuming.model import Poison, Unflushable
from services.profiles.writes import effect_of
from services.warehouse.rows import Place
from services.warehouse.sink import TOPICS as WAREHOUSE_TOPICS
from services.warehouse.sink import read_value, rows_of

# As services.profiles.app says them, without the consumer that comes along; a test holds the two equal.
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
    """Step -> why it would send this record to the dead letters; empty when each would take it.

    A fault that only the store itself finds is not known here. A topic that no consumer follows is taken by all.
    """
    found = {}
    if candidate.topic in PROFILES_TOPICS:
        effect = effect_of(candidate)
        if isinstance(effect, Poison):
            found["profiles"] = effect.reason
    if candidate.topic in WAREHOUSE_TOPICS:
        value = read_value(candidate.topic, candidate.value)
        place = Place("0" * 32, candidate.partition, candidate.offset, candidate.timestamp)
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
