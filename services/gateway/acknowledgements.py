"""The acknowledgement ledger: which offsets the broker acknowledged to this gateway.

It is appended to `animusic.ledger.v1` every few seconds. A killed process loses up to ten seconds of entries; a reader
sees their offsets as unknown, not as lost. An entry must therefore only contain acknowledged records. If the topic may
have been deleted and created again meanwhile, the ranges in doubt get no entry.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import uuid4

from contracts.ledger import MOST_SPANS, AcknowledgementEntry, Ranges, Span
from services.common.process.clock import now_ms
from services.common.process.loop import end
from services.gateway.partition_batcher import PendingAppend
from services.gateway.writer import LogUnavailable

logger = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 3.0
# Ranges that wait while the ledger's topic cannot be written. The oldest ones beyond this are dropped.
MOST_WAITING: Final = 200_000

Append = Callable[[str, list[bytes], int], Awaitable[object]]
TopicId = Callable[[], Awaitable[str]]


class AcknowledgementLedger:
    """Records acknowledged batches, and appends entries every `every_seconds` and at the end."""

    def __init__(self, topic: str, topic_id: TopicId, append: Append, every_seconds: float = 10.0) -> None:
        """`topic_id` asks the broker for the topic's id; `append` writes an entry, keyed by this process."""
        self.writer = f"gateway-{uuid4().hex}"
        self._ranges = Ranges()
        self._topic = topic
        self._topic_id = topic_id
        self._append = append
        self._every_seconds = every_seconds
        self._known_id: str | None = None
        # Acknowledged since the last check of the topic's id, so possibly in another topic.
        self._unconfirmed: list[Span] = []
        self._waiting: list[Span] = []
        self._task: asyncio.Task[None] | None = None

    def record(self, partition: int, appends: list[PendingAppend], first: int) -> None:
        """Record one acknowledged batch: its appends in order, from offset `first` on."""
        for append in appends:
            count = len(append.values)
            self._ranges.note(partition, append.time_ms, first, first + count, records=count, digest=append.digest)
            first += count

    def start(self) -> None:
        """Start to append entries."""
        self._task = asyncio.create_task(self._publish_regularly(), name="the gateway's acknowledgement ledger")

    async def close(self) -> None:
        """Append the remaining entries, within CLOSE_SECONDS."""
        if self._task is not None:
            await end(self._task)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.publish()

    async def _publish_regularly(self) -> None:
        # The id is fetched before the first range, so that a change in the first period is detected, too.
        self._known_id = await self._topic_id()
        while True:
            await asyncio.sleep(self._every_seconds)
            await self.publish()

    async def publish(self) -> None:
        """Append entries for the batches since the last call. Ranges that cannot be appended wait."""
        self._unconfirmed += self._ranges.take()
        topic_id = await self._topic_id()
        self._waiting += self._unconfirmed
        self._unconfirmed = []
        if topic_id != self._known_id and self._waiting:
            logger.warning("the topic was deleted and created again: %d ranges get no ledger entry", len(self._waiting))
            self._waiting.clear()
        self._known_id = topic_id
        del self._waiting[:-MOST_WAITING]
        while self._waiting:
            spans, rest = self._waiting[:MOST_SPANS], self._waiting[MOST_SPANS:]
            if not await self._appended(topic_id, spans):
                return
            self._waiting = rest

    async def _appended(self, topic_id: str, spans: list[Span]) -> bool:
        now = now_ms()
        entry = AcknowledgementEntry(
            kind="account", writer=self.writer, topic=self._topic, topic_id=topic_id, said_at=now, spans=tuple(spans)
        )
        try:
            await self._append(self.writer, [entry.log_value()], now)
        except LogUnavailable as unavailable:
            logger.warning("a ledger entry could not be appended and waits: %s", unavailable)
            return False
        return True
