"""The interface of a sink: assigned partitions, slices of records, and how a record is rejected."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from contracts.marks import MarkName

T = TypeVar("T")
# An aiokafka ConsumerRecord: topic, partition, offset, timestamp (ms), key, value (both bytes or None), headers.
Record = Any


class Unflushable(Exception):
    """The store will never accept these records: the data is wrong. `str()` says which.

    The consumer bisects the batch to the one record and sends that to the dead letters. Never raise it for an outage.
    """


@dataclass(frozen=True)
class Poison:
    """A record that cannot be read, and why, in one sentence without the record's content."""

    reason: str


class Assignment(NamedTuple):
    """A partition that this process follows: its name in marks, its topic, and how many partitions that topic has."""

    name: MarkName
    topic: str
    partitions: int


class DecodedRecord(NamedTuple, Generic[T]):
    """One record and what it was decoded to."""

    record: Record
    value: T


class Gap(NamedTuple):
    """Offsets from `first` to before `upto` that the log does not have any more."""

    first: int
    upto: int


@dataclass
class Slice(Generic[T]):
    """Consecutive records of one partition.

    Attributes:
        after: the mark that it continues from: the store must have all effects before it. 0 where it had no mark.
        upto: the mark to write with or after the effects: offset of the last record + 1. Above `after`; offsets in
            between may be missing (compacted away, sent to the dead letters, expired).
        items: the records that could be decoded, in the order of the log; may be empty, then only the mark moves.
        gaps: what the log lost of this partition, found out since the last flush: before it was read here, or after.
    """

    assignment: Assignment
    after: int
    upto: int
    items: list[DecodedRecord[T]]
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True)
class FlushResult:
    """`refused` names the slices not taken, as the store's mark is lower than `after`, with that mark or None.

    It may name other partitions, too, when the sink switched to another store: those are read from that mark again.
    """

    refused: dict[MarkName, int | None] = field(default_factory=dict)


class Sink(Protocol[T]):
    """A store that follows the log.

    Attributes:
        step: its name in logs, metrics and the headers of dead letters.
        outages: exceptions that mean "not now": the same flush is tried again. Anything else but `Unflushable` stops
            the process.
    """

    step: str
    outages: tuple[type[Exception], ...]

    def decode(self, record: Record) -> T | Poison:
        """What a record says. Called once a record, before any flush. Raises NewerSchema, which stops the process."""
        ...

    async def marks(self, assignments: Sequence[Assignment]) -> dict[MarkName, int | None]:
        """The store's mark of each partition; None where it has none. May raise one of `outages`."""
        ...

    async def flush(self, slices: Sequence[Slice[T]]) -> FlushResult:
        """Write the effects of all slices, and each slice's mark with them or after them, never before.

        Called again with the same records after an outage, a restart or a rebalance: effects must be idempotent.
        May raise one of `outages`, or Unflushable.
        """
        ...
