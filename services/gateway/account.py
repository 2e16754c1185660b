"""The gateway's own account of what the log acknowledged to it: appended to `animusic.ledger.v1` every few seconds.

An account lost with a killed process is unknown, ten seconds of it at most, and never a loss: a reader of accounts
An account lost with a killed process is unknown, ten seconds of it at most, and never a loss: who reads accounts
topic was made anew meanwhile) is left out.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from contracts.ledger import DIGESTS, Account, Span, hour_of
from services.common.clock import now_ms
from services.gateway.lanes import Post
from services.gateway.writer import LogUnavailable

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 3.0
# Of one account; a gateway that shares its partitions with others has a range for each batch of its own.
MOST_SPANS: Final = 5_000
# Ranges that wait while the ledger's topic cannot be written. Beyond this they are dropped, and thus unknown.
MOST_WAITING: Final = 200_000

Append = Callable[[str, list[bytes], int], Awaitable[object]]
TopicId = Callable[[], Awaitable[str]]


@dataclass(slots=True)
class _Range:
    partition: int
    hour: int
    first: int
    upto: int
    records: int
    digest: int

    def span(self) -> Span:
        return Span(
            partition=self.partition, hour=self.hour, first=self.first, upto=self.upto,
            records=self.records, digest=f"{self.digest % DIGESTS:032x}",
        )  # fmt: skip


class Ranges:
    """Acknowledged ranges of offsets, neighbours of one hour merged."""

    def __init__(self) -> None:
        self._open: dict[int, _Range] = {}
        self._closed: list[_Range] = []

    def note(self, partition: int, posts: list[Post], first: int) -> None:
        """One acknowledged batch: its posts in order, from offset `first` on."""
        for post in posts:
            upto = first + len(post.values)
            self._note(partition, hour_of(post.time_ms), first, upto, post.digest)
            first = upto

    def _note(self, partition: int, hour: int, first: int, upto: int, digest: int) -> None:
        last = self._open.get(partition)
        if last is not None and last.upto == first and last.hour == hour:
            last.upto, last.records, last.digest = upto, last.records + upto - first, last.digest + digest
            return
        if last is not None:
            self._closed.append(last)
        self._open[partition] = _Range(partition, hour, first, upto, upto - first, digest)

    def take(self) -> list[Span]:
        """What was noted since the last call."""
        ranges = [*self._closed, *self._open.values()]
        self._open, self._closed = {}, []
        return [one.span() for one in ranges]


class Accountant:
    """Notes what is acknowledged, and says it every ten seconds and at the end."""

    def __init__(self, topic: str, topic_id: TopicId, append: Append) -> None:
        """`topic_id` asks the broker anew; `append` writes a record of the ledger, keyed by this process."""
        self.writer = f"gateway-{uuid4().hex}"
        self.ranges = Ranges()
        self._topic = topic
        self._topic_id = topic_id
        self._append = append
        self._known_id: str | None = None
        # Taken, but the topic's id was not asked since: it may be another topic.
        self._doubtful: list[Span] = []
        self._waiting: list[Span] = []
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to say it."""
        self._task = asyncio.create_task(self._keep_saying(), name="the gateway's account")

    async def close(self) -> None:
        """Say the rest, within bounds."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.say()

    async def _keep_saying(self) -> None:
        # An id that is known before the first range makes the first period as certain as the others.
        self._known_id = await self._topic_id()
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self.say()

    async def say(self) -> None:
        """Append an account of what was acknowledged since the last one; what cannot be appended waits."""
        self._doubtful += self.ranges.take()
        topic_id = await self._topic_id()
        self._waiting += self._doubtful
        self._doubtful = []
        if topic_id != self._known_id and self._waiting:
            log.warning("the topic was made anew: %d ranges stay without an account", len(self._waiting))
            self._waiting.clear()
        self._known_id = topic_id
        del self._waiting[:-MOST_WAITING]
        while self._waiting:
            said, rest = self._waiting[:MOST_SPANS], self._waiting[MOST_SPANS:]
            if not await self._said(topic_id, said):
                return
            self._waiting = rest

    async def _said(self, topic_id: str, spans: list[Span]) -> bool:
        now = now_ms()
        account = Account(
            kind="account", writer=self.writer, topic=self._topic, topic_id=topic_id, said_at=now, spans=tuple(spans)
        )
        try:
            await self._append(self.writer, [account.log_value()], now)
        except LogUnavailable as unavailable:
            log.warning("an account waits: %s", unavailable)
            return False
        return True
