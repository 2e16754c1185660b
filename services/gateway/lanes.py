"""Group commit: the posts that wait for one partition share one record batch and one acknowledgement.

A single acknowledged send takes about 2.5 ms; while it is under way the next posts gather, so a busy partition commits
few, large batches and an idle one commits at once. Kafka's idempotent producer numbers each batch, so a batch that is
sent again after a lost acknowledgement is still in the log once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

# The broker takes batches up to 1,048,588 bytes; a post of the largest body, stamped, stays well below this.
BATCH_BYTES: Final = 900_000
_RECORD_OVERHEAD: Final = 32


class Builder(Protocol):
    """What aiokafka's BatchBuilder offers."""

    def append(self, *, timestamp: int | None, key: bytes | None, value: bytes | None) -> object: ...


@dataclass(slots=True)
class Post:
    """The records of one post, all of one user. `done` gets the offset of the first record.

    `digest` is the sum of their event ids (contracts.ledger), 0 for records that are no events.
    """

    key: bytes
    values: list[bytes]
    time_ms: int
    done: "asyncio.Future[int]"
    digest: int = 0

    @property
    def size(self) -> int:
        """Bytes that it takes in a batch, rounded up."""
        return sum(map(len, self.values)) + len(self.values) * (len(self.key) + _RECORD_OVERHEAD)


@dataclass(slots=True)
class Lane:
    """The posts that wait for one partition, and the batch that is under way.

    Attributes:
        sent_at: monotonic seconds when the batch under way was handed over; None when there is none.
        next_offset: offset after the last acknowledged record; a lower one means that the topic is another one.
    """

    partition: int
    waiting: deque[Post] = field(default_factory=deque)
    task: "asyncio.Task[None] | None" = None
    sent_at: float | None = None
    next_offset: int = 0

    def stuck_for(self) -> float:
        """Seconds that the batch under way has waited for its acknowledgement."""
        return 0.0 if self.sent_at is None else time.monotonic() - self.sent_at

    def fill(self, builder: Builder) -> tuple[list[Post], int]:
        """Move waiting posts into a batch, as many as fit: (posts, bytes taken off the queue).

        A post whose client was already told that it failed (its future is cancelled) is left out.
        """
        posts: list[Post] = []
        room, taken = BATCH_BYTES, 0
        while self.waiting and (not posts or self.waiting[0].size <= room):
            post = self.waiting.popleft()
            taken += post.size
            if post.done.done():
                continue
            room -= post.size
            posts.append(post)
            for value in post.values:
                if builder.append(timestamp=post.time_ms, key=post.key, value=value) is None:
                    raise ValueError("a post does not fit into one record batch")
        return posts, taken

    def settle(self, posts: list[Post], base_offset: int) -> None:
        """Tell each post of an acknowledged batch where it lies."""
        for post, offset in _offsets(posts, base_offset):
            if not post.done.done():
                post.done.set_result(offset)
        self.next_offset = base_offset + sum(len(post.values) for post in posts)


def fail(posts: list[Post], error: BaseException) -> None:
    """Tell each post of a batch that it was not acknowledged."""
    for post in posts:
        if not post.done.done():
            post.done.set_exception(error)


def _offsets(posts: list[Post], base_offset: int) -> Iterator[tuple[Post, int]]:
    for post in posts:
        yield post, base_offset
        base_offset += len(post.values)
