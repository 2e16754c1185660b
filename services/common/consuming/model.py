"""What a sink gets and gives: claims on partitions, slices of them, and the ways in which a record can be refused."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from contracts.marks import MarkName

T = TypeVar("T")
# An aiokafka ConsumerRecord: topic, partition, offset, timestamp (ms), key, value (both bytes or None), headers.
Record = Any


class Unflushable(Exception):
    """The store will never take these records, a fault of the data. `str()` says which.

    The kit bisects the batch to the one record and sends that to the dead letters. Never raise it for what could pass.
    """


@dataclass(frozen=True)
class Poison:
    """A record that cannot be read, and why, in one sentence without the record's content."""

    reason: str


class Claim(NamedTuple):
    """A partition that this process follows: its name in marks, its topic, and how many partitions that topic has."""

    name: MarkName
    topic: str
    partitions: int


class Taken(NamedTuple, Generic[T]):
    """One record and what it was decoded to."""

    record: Record
    value: T


class Lost(NamedTuple):
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
        lost: what the log lost of this partition, found out since the last flush: before it was read here, or after.
    """

    claim: Claim
    after: int
    upto: int
    items: list[Taken[T]]
    lost: tuple[Lost, ...] = ()


@dataclass(frozen=True)
class FlushResult:
    """`refused` names the slices not taken, as the store's mark is lower than `after`, with that mark or None.

    It may name other claims, too, when the sink goes on in another place: those are read from that mark again.
    """

    refused: dict[MarkName, int | None] = field(default_factory=dict)


class Sink(Protocol[T]):
    """A store that follows the log.

    Attributes:
        step: its name in logs, metrics and the headers of dead letters.
        outages: exceptions that mean "not now": the kit waits and tries the same flush again. Anything else but
            `Unflushable` stops the process.
    """

    step: str
    outages: tuple[type[Exception], ...]

    def decode(self, record: Record) -> T | Poison:
        """What a record says. Called once a record, before any flush; raises nothing."""
        ...

    async def marks(self, claims: Sequence[Claim]) -> dict[MarkName, int | None]:
        """How far the store has come in each claim; None where it knows nothing of it. May raise one of `outages`."""
        ...

    async def flush(self, slices: Sequence[Slice[T]]) -> FlushResult:
        """Write the effects of all slices, and each slice's mark with them or after them, never before.

        Called again with the same records after an outage, a restart or a rebalance: effects must be idempotent.
        May raise one of `outages`, or Unflushable.
        """
        ...
