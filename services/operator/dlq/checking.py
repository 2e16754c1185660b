"""Whether a record would be read this time: asked of the consumers' own code, without their stores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from pydantic import ValidationError

from contracts.evolution.versions import NewerSchema
from contracts.marks import MarkName
from contracts.records import VERSIONS, read_record
from contracts.topics import FEEDBACK, PLAYLISTS, PROFILES
from services.common.consuming.model import Assignment, DecodedRecord, Poison, Slice, Unflushable
from services.profiles.writes import effect_of
from services.warehouse.sink import TOPICS as WAREHOUSE_TOPICS
from services.warehouse.sink import WarehouseSink

# As services.profiles.app says them, without the consumer that comes along; a test holds the two equal.
PROFILES_TOPICS: Final = frozenset({FEEDBACK.name, PROFILES.name, PLAYLISTS.name})


@dataclass(frozen=True)
class Candidate:
    """A record as a consumer would get it; `offset` is where its letter lay, it has no place of its own yet."""

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


async def refusals(candidate: Candidate) -> dict[str, str]:
    """Step -> why it would send this record to the dead letters; empty when each would take it.

    A fault that only the store itself finds is not known here. A topic that no consumer follows is taken by all.
    """
    found = {}
    if candidate.topic in PROFILES_TOPICS:
        effect = effect_of(candidate)
        if isinstance(effect, Poison):
            found["profiles"] = effect.reason
    if candidate.topic in WAREHOUSE_TOPICS:
        reason = await _warehouse_refusal(candidate)
        if reason is not None:
            found["warehouse"] = reason
    return found


async def _warehouse_refusal(candidate: Candidate) -> str | None:
    sink = WarehouseSink(_Nowhere())
    value = sink.decode(candidate)
    if isinstance(value, Poison):
        return value.reason
    assignment = Assignment(MarkName("0" * 32, candidate.partition), candidate.topic, candidate.partition + 1)
    after = candidate.offset
    try:
        await sink.flush([Slice(assignment, 0, after + 1, [DecodedRecord(candidate, value)])])
    except Unflushable as fault:
        return str(fault)
    return None


class _Nowhere:
    """A ClickHouse that takes every row and keeps none: what is left are the faults of the rows themselves."""

    def command(self, _statement: str) -> None:
        """Nothing happens."""

    def insert(self, _table: str, _rows: pa.Table) -> None:
        """Nothing is kept."""

    def query(self, _statement: str, _parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """No marks."""
        return pa.table({"topic_id": [], "partition": [], "mark": []})

    def close(self) -> None:
        """Nothing is open."""


def said(refused: Mapping[str, str]) -> str:
    """One sentence of `refusals`."""
    reasons = set(refused.values())
    if len(reasons) == 1:
        return f"{' and '.join(sorted(refused))} would refuse it again: {reasons.pop()}"
    return "; ".join(f"{step} would refuse it again: {reason}" for step, reason in sorted(refused.items()))
