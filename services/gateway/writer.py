"""Appends to one topic and waits for the broker's acknowledgement; it survives outages of the broker.

`append` raises LogUnavailable in these cases:
    the queue is full, or an earlier batch is stuck for longer than the timeout: nothing was written;
    no broker answers, or the topic does not exist: nothing was written;
    no acknowledgement in time, or an error: the records may or may not have been written.
In each case the client sends the same event ids again. A producer that failed is replaced, because the sequence numbers
of its batches have a gap. A producer that waits for its broker is kept, and continues when the broker answers.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError, KafkaError

from contracts.placement import partition_of
from services.common.process.loop import end
from services.gateway.metrics import Metrics
from services.gateway.partition_batcher import PartitionBatcher, PendingAppend, fail

logger = logging.getLogger(__name__)

# Called for each acknowledged batch with its partition, its appends in order, and the offset of its first record.
Acknowledged = Callable[[int, list[PendingAppend], int], None]
QUEUE_BYTES: Final = 64 * 1024 * 1024
RECONNECT_SECONDS: Final = 0.5
DISPOSE_SECONDS: Final = 3.0
# After this wait for a batch the gateway is not ready. The appends of the batch still wait until their own deadline.
SLOW_SECONDS: Final = 2.0
FAILURE_SECONDS: Final = 5.0


class LogUnavailable(Exception):
    """The log did not acknowledge a write; `str()` says why in a few words."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The position of the records of one append. `topic_recreated`: offsets went back, so the topic is another one."""

    partition: int
    first_offset: int
    last_offset: int
    topic_recreated: bool


class LogWriter:
    """The one writer of a user-keyed topic in this process."""

    def __init__(
        self,
        topic: str,
        connect: Callable[[], AIOKafkaProducer],
        *,
        timeout_seconds: float,
        metrics: Metrics,
        acknowledged: Acknowledged | None = None,
    ) -> None:
        """`connect` creates a producer and does not start it; it is called again after a failure."""
        self.topic = topic
        self._connect = connect
        self._timeout = timeout_seconds
        self._metrics = metrics
        self._acknowledged = acknowledged
        self._batchers: dict[int, PartitionBatcher] = {}
        self._queued = 0
        self._producer: AIOKafkaProducer | None = None
        self._connected = asyncio.Event()
        self._broken = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._failed_at: float | None = None
        self._failure = ""

    def start(self) -> None:
        """Connect in the background, and reconnect when needed; appends wait for it up to their deadline."""
        self._keeper = asyncio.create_task(self._keep_connected(), name=f"connection to {self.topic}")

    async def close(self) -> None:
        """Wait for queued appends, within a time limit, and close the connection."""
        tasks = [batcher.task for batcher in self._batchers.values() if batcher.task]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=DISPOSE_SECONDS)
            for task in late:
                task.cancel()
        if self._keeper is not None:
            await end(self._keeper)
        if self._producer is not None:
            await self._dispose(self._producer)

    def trouble(self) -> str | None:
        """Why an append would probably fail now; None if it would probably succeed."""
        if not self._connected.is_set():
            return "not connected to a broker"
        stuck = max((batcher.stuck_for() for batcher in self._batchers.values()), default=0.0)
        if stuck > SLOW_SECONDS:
            return f"the broker has not acknowledged a batch for {stuck:.0f} s"
        if self._failed_at is not None and time.monotonic() - self._failed_at < FAILURE_SECONDS:
            return f"the last append failed: {self._failure}"
        return None

    async def append(self, user_id: str, values: list[bytes], time_ms: int, digest: int = 0) -> Appended:
        """Append one user's records, in order and next to each other. Raises LogUnavailable.

        `digest`: of their event ids, for the acknowledgement ledger.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await self._append(user_id, values, time_ms, digest)
        except TimeoutError:
            raise self._unavailable("timeout", f"no acknowledgement within {self._timeout:g} s") from None
        except KafkaError as error:
            raise self._unavailable(type(error).__name__, _describe(error)) from error

    async def _append(self, user_id: str, values: list[bytes], time_ms: int, digest: int) -> Appended:
        producer = await self._connection()
        partitions = len(await producer.partitions_for(self.topic))
        partition = partition_of(user_id, partitions)
        batcher = self._batchers.setdefault(partition, PartitionBatcher(partition))
        if batcher.stuck_for() > self._timeout:
            raise self._unavailable("stuck", "the broker does not acknowledge")
        pending = PendingAppend(user_id.encode(), values, time_ms, asyncio.get_running_loop().create_future(), digest)
        self._enqueue(batcher, pending)
        expected = batcher.next_offset
        first = await pending.done
        return Appended(partition, first, first + len(values) - 1, topic_recreated=first < expected)

    def _enqueue(self, batcher: PartitionBatcher, pending: PendingAppend) -> None:
        if self._queued + pending.size > QUEUE_BYTES:
            raise self._unavailable("busy", "the queue for the log is full")
        self._count_queued(pending.size)
        batcher.waiting.append(pending)
        if batcher.task is None:
            batcher.task = asyncio.create_task(self._drain(batcher), name=f"{self.topic}/{batcher.partition}")

    async def _drain(self, batcher: PartitionBatcher) -> None:
        try:
            while batcher.waiting:
                await self._commit(batcher, await self._connection())
        finally:
            batcher.task = None

    async def _commit(self, batcher: PartitionBatcher, producer: AIOKafkaProducer) -> None:
        batch = producer.create_batch()
        appends, taken = batcher.fill(batch)
        self._count_queued(-taken)
        if not appends:
            return
        batcher.sent_at = time.monotonic()
        try:
            acknowledged: Any = await (await producer.send_batch(batch, self.topic, partition=batcher.partition))
            if acknowledged.offset < 0:
                raise KafkaError("acknowledged without an offset")
        except Exception as error:  # noqa: BLE001 - on any error, every append fails and the producer is replaced
            self._on_failure(producer, error)
            fail(appends, error if isinstance(error, KafkaError) else KafkaError(repr(error)))
        else:
            self._on_success(batcher, appends, acknowledged.offset)
            batcher.settle(appends, acknowledged.offset)
        finally:
            batcher.sent_at = None

    def _on_success(self, batcher: PartitionBatcher, appends: list[PendingAppend], first_offset: int) -> None:
        self._failed_at = None
        if self._acknowledged is not None:
            self._acknowledged(batcher.partition, appends, first_offset)
        self._metrics.commits.labels(self.topic).observe(batcher.stuck_for())
        self._metrics.records.labels(self.topic).inc(sum(len(append.values) for append in appends))

    def _on_failure(self, producer: AIOKafkaProducer, error: Exception) -> None:
        logger.warning("a batch for %s was not acknowledged: %r", self.topic, error)
        self._failed_at, self._failure = time.monotonic(), _describe(error)
        if self._producer is producer:
            self._connected.clear()
            self._broken.set()

    async def _connection(self) -> AIOKafkaProducer:
        while self._producer is None or not self._connected.is_set():
            await self._connected.wait()
        return self._producer

    async def _keep_connected(self) -> None:
        while True:
            producer = self._connect()
            try:
                await producer.start()
            except (KafkaError, OSError) as error:
                logger.warning("no connection for %s yet: %s", self.topic, error)
                await self._dispose(producer)
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            self._producer = producer
            self._broken.clear()
            self._connected.set()
            await self._broken.wait()
            self._producer = None
            await self._dispose(producer)

    async def _dispose(self, producer: AIOKafkaProducer) -> None:
        try:
            async with asyncio.timeout(DISPOSE_SECONDS):
                await producer.stop()
        except (TimeoutError, KafkaError, OSError) as error:
            logger.warning("a producer of %s did not close cleanly: %r", self.topic, error)

    def _count_queued(self, size: int) -> None:
        self._queued += size
        self._metrics.log_waiting.labels(self.topic).set(self._queued)

    def _unavailable(self, reason: str, detail: str) -> LogUnavailable:
        self._metrics.log_failures.labels(self.topic, reason).inc()
        return LogUnavailable(detail)


def _describe(error: Exception) -> str:
    """The error in words, and what the operator can do."""
    if isinstance(error, InvalidTimestampError):
        return "the broker rejects this machine's time; correct the clock"
    return type(error).__name__
