"""Group commit: the appends that wait for one partition share one record batch and one acknowledgement.

One acknowledged batch takes about 2.5 ms. Meanwhile the next appends gather, so a busy partition commits few, large
batches, and an idle one commits at once. Kafka's idempotent producer numbers each batch: a batch that is sent again
after a lost acknowledgement is still in the log once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

# The broker accepts batches up to 1,048,588 bytes. The largest stamped post stays well below BATCH_BYTES.
BATCH_BYTES: Final = 900_000
_RECORD_OVERHEAD: Final = 32


class Builder(Protocol):
    """The part of aiokafka's BatchBuilder that is used."""

    def append(self, *, timestamp: int | None, key: bytes | None, value: bytes | None) -> object: ...


@dataclass(slots=True)
class PendingAppend:
    """Records of one user that wait for their acknowledgement. `done` gets the offset of the first record.

    `digest` is the sum of their event ids (contracts.ledger), 0 for other records.
    """

    key: bytes
    values: list[bytes]
    time_ms: int
    done: "asyncio.Future[int]"
    digest: int = 0

    @property
    def size(self) -> int:
        """Its bytes in a batch, rounded up."""
        return sum(map(len, self.values)) + len(self.values) * (len(self.key) + _RECORD_OVERHEAD)


@dataclass(slots=True)
class PartitionBatcher:
    """The appends that wait for one partition, and the batch that was sent and is not acknowledged yet.

    Attributes:
        sent_at: monotonic seconds when that batch was sent; None when there is none.
        next_offset: offset after the last acknowledged record; a lower one means that the topic was recreated.
    """

    partition: int
    waiting: deque[PendingAppend] = field(default_factory=deque)
    task: "asyncio.Task[None] | None" = None
    sent_at: float | None = None
    next_offset: int = 0

    def stuck_for(self) -> float:
        """Seconds since the unacknowledged batch was sent; 0 if there is none."""
        return 0.0 if self.sent_at is None else time.monotonic() - self.sent_at

    def fill(self, builder: Builder) -> tuple[list[PendingAppend], int]:
        """Move waiting appends into a batch, as many as fit: (appends, bytes taken off the queue).

        An append that has already failed (its future is cancelled) is left out.
        """
        appends: list[PendingAppend] = []
        room, taken = BATCH_BYTES, 0
        while self.waiting and (not appends or self.waiting[0].size <= room):
            append = self.waiting.popleft()
            taken += append.size
            if append.done.done():
                continue
            room -= append.size
            appends.append(append)
            for value in append.values:
                if builder.append(timestamp=append.time_ms, key=append.key, value=value) is None:
                    raise ValueError("a post does not fit into one record batch")
        return appends, taken

    def settle(self, appends: list[PendingAppend], base_offset: int) -> None:
        """Complete each append of an acknowledged batch with its first offset."""
        for append, offset in _offsets(appends, base_offset):
            if not append.done.done():
                append.done.set_result(offset)
        self.next_offset = base_offset + sum(len(append.values) for append in appends)


def fail(appends: list[PendingAppend], error: BaseException) -> None:
    """Fail each append of a batch."""
    for append in appends:
        if not append.done.done():
            append.done.set_exception(error)


def _offsets(appends: list[PendingAppend], base_offset: int) -> Iterator[tuple[PendingAppend, int]]:
    for append in appends:
        yield append, base_offset
        base_offset += len(append.values)
