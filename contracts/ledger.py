"""Records of `animusic.ledger.v1`: counts and digests of event ids, so that "is anything lost?" can be computed.

Two parts count the same ids independently: the gateway those that the broker acknowledged (`AcknowledgementEntry`), the
probe those that it reads in the topic (`Tally`). Both give ranges of offsets, so each can be compared with the rows of
ClickHouse. A range without an entry is unknown, not lost.

The digest of a range is the sum of its event ids, as numbers, modulo 2^128. The order does not matter, and digests of
parts add up. If one id is missing, the difference of two digests is that id.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from contracts.events import EARLIEST_MS, Id

HOUR_MS: Final = 3_600_000
DIGESTS: Final = 1 << 128
# Prefix of the probe's users. No session gets such an id, and the analysts' views leave them out.
PROBE_PREFIX: Final = "probe-"

Count = Annotated[int, Field(ge=0)]
At = Annotated[int, Field(ge=EARLIEST_MS, le=1 << 52)]
TopicId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def hour_of(time_ms: int) -> int:
    """The beginning of the hour (UTC) that a record's timestamp lies in, ms."""
    return time_ms - time_ms % HOUR_MS


def digest_of(ids: Iterable[int]) -> int:
    """The digest of event ids, given as numbers (`UUID.int`)."""
    return sum(ids) % DIGESTS


def is_probe(user_id: str) -> bool:
    """Whether a user is the probe."""
    return user_id.startswith(PROBE_PREFIX)


class Span(BaseModel):
    """The records of one partition from offset `first` to before `upto` whose timestamps lie in one hour.

    Attributes:
        hour: its beginning, ms since the epoch.
        records: events among them.
        digest: of their ids, 32 hex digits.
        unreadable: records among them that are not events; they become dead letters.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    partition: Count
    hour: At
    first: Count
    upto: Count
    records: Count
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    unreadable: Count = 0


MOST_SPANS: Final = 5_000
Spans = Annotated[tuple[Span, ...], Field(max_length=MOST_SPANS)]


@dataclass(slots=True)
class _Open:
    hour: int
    first: int
    upto: int
    records: int = 0
    digest: int = 0
    unreadable: int = 0


class Ranges:
    """Builds spans from batches in the order of offsets: adjacent ones of one partition and hour are joined."""

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self._closed: list[tuple[int, _Open]] = []

    def note(
        self, partition: int, time_ms: int, first: int, upto: int, *, records: int, digest: int, unreadable: int = 0
    ) -> None:
        """`records` events from offset `first` to before `upto`, received at `time_ms`, with the sum of their ids."""
        hour = hour_of(time_ms)
        last = self._open.get(partition)
        if last is None or last.upto != first or last.hour != hour:
            if last is not None:
                self._closed.append((partition, last))
            last = self._open[partition] = _Open(hour, first, first)
        last.upto = upto
        last.records += records
        last.digest += digest
        last.unreadable += unreadable

    def take(self) -> list[Span]:
        """The spans since the last call."""
        found = [*self._closed, *self._open.items()]
        self._open, self._closed = {}, []
        return [
            Span(
                partition=partition, hour=one.hour, first=one.first, upto=one.upto, records=one.records,
                digest=f"{one.digest % DIGESTS:032x}", unreadable=one.unreadable,
            )
            for partition, one in found
        ]  # fmt: skip


class AcknowledgementEntry(BaseModel):
    """What the broker acknowledged to one gateway process since its last entry.

    Attributes:
        writer: the process; a restarted one has another name.
        topic_id: 32 hex digits.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    kind: Literal["account"]
    writer: Id
    topic: str
    topic_id: TopicId
    said_at: At
    spans: Spans

    def log_value(self) -> bytes:
        """The record value: compact JSON."""
        return self.model_dump_json(by_alias=True).encode()


class Tally(BaseModel):
    """What the probe read in the topic, and the marks of the live generation of profiles at that time.

    Attributes:
        folded: partition -> mark of Redis, the lowest of its shards; partitions without a mark are absent.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    kind: Literal["tally"]
    writer: Id
    topic: str
    topic_id: TopicId
    said_at: At
    spans: Spans
    folded: dict[int, Count] = {}

    def log_value(self) -> bytes:
        """The record value: compact JSON."""
        return self.model_dump_json(by_alias=True).encode()


class Round(BaseModel):
    """One round of the synthetic listener. A step that did not finish is null, and `trouble` says why.

    Attributes:
        accepted_ms: from the post of a like to its 202.
        profile_ms: from the 202 to a profile that reflects it.
        playlist_ms: from the 202 to a playlist that was made from such a profile.
        warehouse_ms: from the 202 to its row in ClickHouse.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    kind: Literal["round"]
    user_id: Id
    began_at: At
    accepted_ms: Milliseconds | None = None
    profile_ms: Milliseconds | None = None
    playlist_ms: Milliseconds | None = None
    warehouse_ms: Milliseconds | None = None
    trouble: Annotated[str, Field(max_length=400)] | None = None

    def log_value(self) -> bytes:
        """The record value: compact JSON."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


LedgerRecord = Annotated[AcknowledgementEntry | Tally | Round, Field(discriminator="kind")]
LEDGER_RECORD: Final[TypeAdapter[Any]] = TypeAdapter(LedgerRecord)
