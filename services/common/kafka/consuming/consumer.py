"""A consumer process from start to stop.

How it ends: asked to stop, it flushes what it holds and returns. When the store or the log stays away for longer than
it retries, when a record is of a newer schema, when too many records cannot be read, or on any error that it does not
know, it stops without skipping a record and `run` raises SystemExit(75) (EX_TEMPFAIL): a supervisor starts it again,
and it goes on from the store's marks.
"""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final, Generic

from aiokafka import AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from prometheus_client import CollectorRegistry

from contracts.evolution.versions import NewerSchema
from contracts.marks import MarkName
from services.common.kafka import Described, Leaders, describe_topics, epoch_ends, producer, wait_for_broker
from services.common.kafka.consuming import positions
from services.common.kafka.consuming.committed import LOG_OUTAGES
from services.common.kafka.consuming.dead_letters import DeadLetters, TooManyDeadLetters
from services.common.kafka.consuming.flow import LOG, STORE, Flow
from services.common.kafka.consuming.metrics import ConsumerMetrics, LagMeter
from services.common.kafka.consuming.model import Assignment, Record, Sink, T
from services.common.kafka.consuming.positions import StallDetector
from services.common.kafka.consuming.retry import OutageTooLong, RetryPolicy, Stopping
from services.common.kafka.consuming.subscription import Joining, NotJoined, Subscription
from services.common.settings import KafkaSettings

EX_TEMPFAIL: Final = 75
_WATCH_SECONDS = 5.0
_COMMIT_SECONDS: Final = 1.0
# Others may be busy with a flush first; beyond that, only another client helps.
_JOIN_SECONDS = 90.0
# FastStream waits 5 s after an error in fetching; errors further apart than this are not one outage.
_ERRORS_APART_SECONDS: Final = 20.0
# Who holds records anyway need not be woken for each of them, nor the log's host: this share of the hold is waited.
_GATHERED_OF_HOLD: Final = 0.25
_MOST_GATHER_MS: Final = 500
# Their text says what happened and what to do.
_EXPLAINED: Final = (NewerSchema, TooManyDeadLetters, OutageTooLong)


class Consumer(Generic[T]):
    """One sink following topics. `await start()`, then `await run()`; `stop()` from anywhere ends it.

    Args:
        hold_seconds: oldest a record may get before it is flushed, once it was fetched; 0 flushes each fetch, and
            fetches each record as it comes.
        retry_seconds: longest outage of store or log before the process gives up with exit code 75.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        sink: Sink[T],
        topics: Sequence[str],
        registry: CollectorRegistry,
        *,
        group: str,
        max_records: int,
        hold_seconds: float = 0.0,
        retry_seconds: float = 120.0,
    ) -> None:
        self._settings = settings
        self._topics = list(topics)
        self._hold_seconds = hold_seconds
        self._retry_seconds = retry_seconds
        self._log = logging.getLogger(f"animusic.{sink.step}")
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        # When errors in fetching began, and when the last one came.
        self._errors: tuple[float, float] = (0.0, 0.0)
        self._ids: dict[str, str] = {}
        self.metrics = ConsumerMetrics(registry, sink.step)
        self._retry_policy = RetryPolicy(sink.step, retry_seconds, self._stopping, self.metrics)
        self._producer: AIOKafkaProducer = producer(settings)
        self._subscribe = functools.partial(
            Subscription, settings, handler=self._take, listener=_Listener(self), on_error=self.fetch_failed,
            group=group, step=sink.step, max_records=max_records,
            gather_ms=min(_MOST_GATHER_MS, int(1_000 * hold_seconds * _GATHERED_OF_HOLD)),
        )  # fmt: skip
        self.subscription: Subscription | None = None
        self._flow = Flow(
            settings, group, sink, self._client, dead_letters=DeadLetters(self._producer, sink.step),
            retry_policy=self._retry_policy, metrics=self.metrics, hold_records=max_records, hold_seconds=hold_seconds,
        )  # fmt: skip
        self._joining = Joining(settings, group, _JOIN_SECONDS, self._log)
        self._lag = LagMeter(registry, sink.step, self._client, self._flow.positions)
        self._stalls = StallDetector(positions.STALLED_SECONDS)
        self._tasks: list[asyncio.Task[None]] = []

    # ---- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Return once partitions are assigned and sought to the store's marks.

        Raises ConnectionError when no broker answers, LookupError when a topic is missing; both say what to do.
        """
        await wait_for_broker(self._settings)
        described = await self._describe()
        self._ids = described.ids
        await self._producer.start()

        def subscribe() -> Subscription:
            # Partitions are assigned while it starts, and are described at through it.
            self.subscription = self._subscribe(described.partitions)
            return self.subscription

        try:
            await self._joining.join(subscribe)
        except NotJoined as late:
            self._log.critical("stopping with exit code %d: %s", EX_TEMPFAIL, late)
            raise SystemExit(EX_TEMPFAIL) from late
        repeated = [
            (_WATCH_SECONDS, self._watch),
            (_WATCH_SECONDS, self._measure),
            (_COMMIT_SECONDS, self._flow.commit),
        ]
        if self._hold_seconds:
            repeated.append((min(0.25, self._hold_seconds / 4), self._flow.tick))
        self._tasks = [asyncio.create_task(self._every(*one)) for one in repeated]

    async def run(self) -> None:
        """Consume until `stop()`, then flush and end. Raises SystemExit(75) on what only a new start can correct."""
        await self._stopping.wait()
        # Records before one of a newer schema are flushed.
        if self._failure is None or isinstance(self._failure, NewerSchema):
            await self._last_flush()
        for task in self._tasks:
            task.cancel()
        if self.subscription is not None:
            await self.subscription.broker.stop()
        await self._producer.stop()
        if self._failure is not None:
            raise SystemExit(EX_TEMPFAIL)

    def stop(self) -> None:
        """Request the end; returns at once."""
        self._stopping.set()

    def not_ready(self) -> str | None:
        """Why this consumer does not follow the log just now, or None."""
        if self._stopping.is_set():
            return "stopping"
        if self._retry_policy.waiting_for == STORE:
            return f"{STORE} does not answer; nothing is lost, the log is read on from its mark"
        if self._flow.positions:
            return None
        return self._joining.waiting_for or "no partition is assigned yet"

    def health_details(self) -> dict[str, Any]:
        """How far this consumer is, for the body of /readyz; `waiting_for` names what does not answer."""
        waiting = {"waiting_for": self._retry_policy.waiting_for} if self._retry_policy.waiting_for else {}
        return {**self._lag.summary(), **waiting}

    async def _last_flush(self) -> None:
        try:
            await self._flow.drain()
        except Stopping:
            self._log.warning("stopped without the store; what was held is read again at the next start")
        except Exception:  # noqa: BLE001 - the process ends anyway, and must leave its group
            self._log.critical("the last flush failed; what was held is read again at the next start", exc_info=True)

    def _fail(self, error: BaseException) -> None:
        if self._failure is None and not isinstance(error, Stopping):
            self._failure = error
            explained = isinstance(error, _EXPLAINED)
            self._log.critical(
                "stopping with exit code %d, nothing is skipped: %s", EX_TEMPFAIL, error if explained else repr(error),
                exc_info=None if explained else error,
            )  # fmt: skip
        self._stopping.set()

    # ---- records ------------------------------------------------------------------------------------------------

    async def _take(self, records: Sequence[Record]) -> None:
        if self._stopping.is_set():
            return
        try:
            await self._flow.take(records)
        except Exception as error:  # noqa: BLE001 - it ends the process
            self._fail(error)

    def fetch_failed(self, error: BaseException) -> None:
        """End the process when errors in fetching, each of which FastStream answers by fetching again, do not end."""
        now = time.monotonic()
        first, last = self._errors
        first = now if now - last > _ERRORS_APART_SECONDS else first
        self._errors = (first, now)
        if now - first > self._retry_seconds:
            self._fail(error)

    # ---- assignment ---------------------------------------------------------------------------------------------

    async def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Start at the store's marks in what is assigned. Called by the rebalance listener."""
        self._log.info("assigned %d partitions", len(partitions))
        try:
            described = await self._retry_policy.retry(LOG, self._describe, (*LOG_OUTAGES, LookupError))
            self._ids = described.ids
            await self._flow.follow(self._assignments, described.leaders, self._epoch_ends)
        except Exception as error:  # noqa: BLE001 - it ends the process
            self._fail(error)

    async def _epoch_ends(self, epochs: Leaders) -> dict[TopicPartition, int]:
        return await epoch_ends(self._settings.bootstrap_servers, epochs)

    async def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Drop these partitions. Called by the rebalance listener."""
        await self._flow.forget(partitions)

    async def _describe(self) -> Described:
        return await describe_topics(self._settings.bootstrap_servers, self._topics)

    def _client(self) -> Any:
        """aiokafka's consumer; None before the start."""
        return self.subscription.consumer if self.subscription else None

    def _assignments(self) -> dict[TopicPartition, Assignment]:
        consumer = self._client()
        counts = {topic: len(consumer.partitions_for_topic(topic) or ()) for topic in self._topics}
        return {
            tp: Assignment(
                MarkName(self._ids[tp.topic], tp.partition), tp.topic, max(counts[tp.topic], tp.partition + 1)
            )
            for tp in sorted(consumer.assignment())
        }

    # ---- watching -----------------------------------------------------------------------------------------------

    async def _every(self, seconds: float, call: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping.is_set():
            await asyncio.sleep(seconds)
            try:
                await call()
            except Exception as error:  # noqa: BLE001 - it ends the process
                self._fail(error)

    async def _watch(self) -> None:
        """Detect an emptied store, a truncated log, a recreated topic: aiokafka reads by name and would continue."""
        with contextlib.suppress(*LOG_OUTAGES, LookupError):
            await self._check_log()
        await self._flow.check_store_marks()

    async def _check_log(self) -> None:
        described = await self._describe()
        other = sorted(topic for topic, topic_id in described.ids.items() if topic_id != self._ids[topic])
        if other:
            self.metrics.count("animusic_consumer_recreated_topics", len(other))
            self._log.error("recreated topics, read from the start: %s", ", ".join(other))
            await self.assigned(self._flow.positions)
        else:
            await self._flow.on_leader_change(described.leaders, self._epoch_ends)
        # An epoch that is not over ends where the log does.
        leaders = {tp: leader for tp, leader in described.leaders.items() if tp in self._flow.positions}
        ends = await self._epoch_ends(leaders) if leaders else {}
        stalled = self._stalls.check(self._flow.positions, ends, busy=self._flow.busy)
        if stalled is not None:
            self._fail(RuntimeError(stalled))

    async def _measure(self) -> None:
        """Keep the lag current while nothing is fetched: a flush that waits for its store blocks the fetches."""
        with contextlib.suppress(*LOG_OUTAGES, LookupError):
            await self._lag.measure()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: Consumer[Any]) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._consumer.revoked(revoked)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        await self._consumer.assigned(assigned)
