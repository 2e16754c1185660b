"""The gateway's own account of what the log acknowledged to it: appended to `animusic.ledger.v1` every few seconds.

An account lost with a killed process is unknown, ten seconds of it at most, and never a loss: a reader of accounts
sees offsets that nobody accounts for. So nothing here may ever say more than was acknowledged, and what is in doubt
(the topic was made anew meanwhile) is left out.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import uuid4

from contracts.ledger import MOST_SPANS, Account, Ranges, Span
from services.common.clock import now_ms
from services.common.tasks import end
from services.gateway.lanes import Post
from services.gateway.writer import LogUnavailable

log = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 3.0
# Ranges that wait while the ledger's topic cannot be written. Beyond this they are dropped, and thus unknown.
MOST_WAITING: Final = 200_000

Append = Callable[[str, list[bytes], int], Awaitable[object]]
TopicId = Callable[[], Awaitable[str]]


class Accountant:
    """Notes what is acknowledged, and says it every `every_seconds` and at the end."""

    def __init__(self, topic: str, topic_id: TopicId, append: Append, every_seconds: float = 10.0) -> None:
        """`topic_id` asks the broker anew; `append` writes a record of the ledger, keyed by this process."""
        self.writer = f"gateway-{uuid4().hex}"
        self._ranges = Ranges()
        self._topic = topic
        self._topic_id = topic_id
        self._append = append
        self._every_seconds = every_seconds
        self._known_id: str | None = None
        # Taken, but the topic's id was not asked since: it may be another topic.
        self._doubtful: list[Span] = []
        self._waiting: list[Span] = []
        self._task: asyncio.Task[None] | None = None

    def note(self, partition: int, posts: list[Post], first: int) -> None:
        """One acknowledged batch: its posts in order, from offset `first` on."""
        for post in posts:
            count = len(post.values)
            self._ranges.note(partition, post.time_ms, first, first + count, records=count, digest=post.digest)
            first += count

    def start(self) -> None:
        """Begin to say it."""
        self._task = asyncio.create_task(self._keep_saying(), name="the gateway's account")

    async def close(self) -> None:
        """Say the rest, within bounds."""
        if self._task is not None:
            await end(self._task)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.say()

    async def _keep_saying(self) -> None:
        # An id that is known before the first range makes the first period as certain as the others.
        self._known_id = await self._topic_id()
        while True:
            await asyncio.sleep(self._every_seconds)
            await self.say()

    async def say(self) -> None:
        """Append an account of what was acknowledged since the last one; what cannot be appended waits."""
        self._doubtful += self._ranges.take()
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
