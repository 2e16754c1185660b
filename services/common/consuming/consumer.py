"""A consumer process from start to stop.

How it ends: asked to stop, it flushes what it holds and returns. When the store or the log stays away for longer than
its patience, or anything happens that it does not know, it stops without skipping a record and `run` raises
SystemExit(75) (EX_TEMPFAIL): whoever supervises it starts it again, and it goes on from the store's marks.
"""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Generic

from aiokafka import AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from prometheus_client import CollectorRegistry

from contracts.marks import MarkName
from services.common.consuming import standstill
from services.common.consuming.epochs import Leaders
from services.common.consuming.flow import LOG_OUTAGES, STORE, Flow
from services.common.consuming.joining import Joining, NotJoined
from services.common.consuming.lag import LagMeter
from services.common.consuming.letters import DeadLetters
from services.common.consuming.metrics import ConsumerMetrics
from services.common.consuming.model import Claim, Record, Sink, T
from services.common.consuming.patience import Patience, Stopping
from services.common.consuming.standstill import Standstill
from services.common.consuming.subscribing import Subscription, batch_broker
from services.common.kafka import partition_counts, producer, wait_for_broker
from services.common.kafka_epochs import epoch_ends
from services.common.kafka_topic_id import Looked, look
from services.common.settings import KafkaSettings

EX_TEMPFAIL = 75
_WATCH_SECONDS = 5.0
# Others may be busy with a flush first; beyond that, only another client helps.
_JOIN_SECONDS = 90.0
# FastStream waits 5 s after an error in fetching; errors further apart than this are not one outage.
_ERRORS_APART_SECONDS = 20.0
# Who holds records anyway need not be woken for each of them, nor the log's host: this share of the hold is waited.
_GATHERED_OF_HOLD = 0.25
_MOST_GATHER_MS = 500


class Consumer(Generic[T]):
    """One sink following topics. `await start()`, then `await run()`; `stop()` from anywhere ends it.

    Args:
        wait_ms: how long a fetch waits for records; about the latency of an idle system.
        hold_seconds: oldest a record may get before it is flushed, once it was fetched; 0 flushes each fetch, and
            fetches each record as it comes.
        patience_seconds: longest outage of store or log before the process gives up with exit code 75.
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
        wait_ms: int = 20,
        hold_seconds: float = 0.0,
        patience_seconds: float = 120.0,
    ) -> None:
        self._settings = settings
        self._topics = list(topics)
        self._hold_seconds = hold_seconds
        self._patience_seconds = patience_seconds
        self._log = logging.getLogger(f"animusic.{sink.step}")
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._errors: tuple[float, float] = (0.0, 0.0)
        self._ids: dict[str, str] = {}
        self.metrics = ConsumerMetrics(registry, sink.step)
        self._patience = Patience(sink.step, patience_seconds, self._stopping, self.metrics)
        self._producer: AIOKafkaProducer = producer(settings)
        gather_ms = min(_MOST_GATHER_MS, int(1_000 * hold_seconds * _GATHERED_OF_HOLD))
        self._subscribe = functools.partial(
            batch_broker, settings, handler=self._take, listener=_Listener(self), on_error=self._fetch_failed,
            group=group, step=sink.step, max_records=max_records, wait_ms=wait_ms, gather_ms=gather_ms,
        )  # fmt: skip
        self.subscription: Subscription | None = None
        self._flow = Flow(
            sink, self._client, DeadLetters(self._producer, sink.step), self._patience,
            self.metrics, hold_records=max_records, hold_seconds=hold_seconds,
        )  # fmt: skip
        self._joining = Joining(settings, group, _JOIN_SECONDS, self._log)
        self._lag = LagMeter(registry, sink.step, self._client, lambda: self._flow.positions)
        self._standstill = Standstill(standstill.SECONDS)
        self._tasks: list[asyncio.Task[None]] = []

    # ---- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Return once partitions are assigned and sought to the store's marks.

        Raises ConnectionError when no broker answers, LookupError when a topic is missing; both say what to do.
        """
        await wait_for_broker(self._settings)
        self._ids = (await self._look()).ids
        await self._producer.start()
        counts = await partition_counts(self._settings, self._topics)
        self.subscription = await self._join(functools.partial(self._subscribe, counts))
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._measure())]
        if self._hold_seconds:
            self._tasks.append(asyncio.create_task(self._tick()))

    async def _join(self, make: Callable[[], Subscription]) -> Subscription:
        def subscribed() -> Subscription:
            # Partitions are assigned while it starts, and are looked at through it.
            self.subscription = make()
            return self.subscription

        try:
            return await self._joining.join(subscribed)
        except NotJoined as late:
            self._log.critical("stopping with exit code %d: %s", EX_TEMPFAIL, late)
            raise SystemExit(EX_TEMPFAIL) from late

    async def run(self) -> None:
        """Consume until `stop()`, then flush and let go. Raises SystemExit(75) on what only a new start can mend."""
        await self._stopping.wait()
        if self._failure is None:
            await self._last_flush()
        for task in self._tasks:
            task.cancel()
        if self.subscription is not None:
            await self.subscription.broker.stop()
        await self._producer.stop()
        if self._failure is not None:
            raise SystemExit(EX_TEMPFAIL)

    def stop(self) -> None:
        """Ask for the end; returns at once."""
        self._stopping.set()

    def not_ready(self) -> str | None:
        """Why this consumer does not follow the log just now, or None."""
        if self._stopping.is_set():
            return "stopping"
        if self._patience.waiting_for == STORE:
            return f"{STORE} does not answer; nothing is lost, the log is read on from its mark"
        if self._flow.claims:
            return None
        return self._joining.waiting_for or "no partition is assigned yet"

    def standing(self) -> dict[str, Any]:
        """How far this consumer is, for the body of /readyz; `waiting_for` names what does not answer."""
        waiting = {"waiting_for": self._patience.waiting_for} if self._patience.waiting_for else {}
        return {**self._lag.summary(), **waiting}

    async def _last_flush(self) -> None:
        try:
            await self._flow.drain()
        except Stopping:
            self._log.warning("stopped without the store; what was held is read again at the next start")
        except Exception:  # noqa: BLE001 - the process ends anyway, and must let go of the log
            self._log.critical("the last flush failed; what was held is read again at the next start", exc_info=True)

    def _fail(self, error: BaseException) -> None:
        if self._failure is None and not isinstance(error, Stopping):
            self._failure = error
            self._log.critical("stopping with exit code %d, nothing is skipped: %r", EX_TEMPFAIL, error, exc_info=error)
        self._stopping.set()

    # ---- records ------------------------------------------------------------------------------------------------

    async def _take(self, records: Sequence[Record]) -> None:
        if self._stopping.is_set():
            return
        try:
            await self._flow.take(records)
        except Exception as error:  # noqa: BLE001 - it ends the process
            self._fail(error)

    def _fetch_failed(self, error: BaseException) -> None:
        """An error in fetching, which FastStream repeats for ever: bounded here."""
        now = time.monotonic()
        first, last = self._errors
        first = now if now - last > _ERRORS_APART_SECONDS else first
        self._errors = (first, now)
        if now - first > self._patience_seconds:
            self._fail(error)

    # ---- assignment ---------------------------------------------------------------------------------------------

    async def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Start at the store's marks in what is assigned. Called by the rebalance listener."""
        self._log.info("assigned %d partitions", len(partitions))
        try:
            looked = await self._patience.until_it_passes("the log", self._look, (*LOG_OUTAGES, LookupError))
            self._ids = looked.ids
            await self._flow.follow(self._claims, looked.leaders, self._epoch_ends)
        except Exception as error:  # noqa: BLE001 - it ends the process
            self._fail(error)

    async def _epoch_ends(self, over: Leaders) -> dict[TopicPartition, int]:
        return await epoch_ends(self._settings.bootstrap_servers, over)

    async def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Let go of these partitions. Called by the rebalance listener."""
        await self._flow.forget(partitions)

    async def _look(self) -> Looked:
        return await look(self._settings.bootstrap_servers, self._topics)

    def _client(self) -> Any:
        """aiokafka's consumer; None before the start."""
        return self.subscription.consumer if self.subscription else None

    def _claims(self) -> dict[TopicPartition, Claim]:
        consumer = self._client()
        partitions: set[TopicPartition] = consumer.assignment()
        counts = {topic: len(consumer.partitions_for_topic(topic) or ()) for topic in self._topics}
        return {
            tp: Claim(MarkName(self._ids[tp.topic], tp.partition), tp.topic, max(counts[tp.topic], tp.partition + 1))
            for tp in sorted(partitions)
        }

    # ---- watching -----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Notice a wiped store, a cut log, a topic made again: aiokafka reads by name and would go on in the middle."""
        while not self._stopping.is_set():
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                with contextlib.suppress(*LOG_OUTAGES, LookupError):
                    await self._look_whether_it_moves(await self._look_at_the_log())
                await self._flow.look_back()
            except Exception as error:  # noqa: BLE001 - it ends the process
                self._fail(error)

    async def _look_at_the_log(self) -> Looked:
        fresh = await self._look()
        other = sorted(topic for topic, topic_id in fresh.ids.items() if topic_id != self._ids[topic])
        if other:
            self.metrics.count("animusic_consumer_recreated_topics", len(other))
            self._log.error("made again, and read from the start: %s", ", ".join(other))
            await self.assigned(self._flow.claims)
        else:
            await self._flow.heed(fresh.leaders, self._epoch_ends)
        return fresh

    async def _look_whether_it_moves(self, looked: Looked) -> None:
        # An epoch that is not over ends where the log does.
        leaders = {tp: leader for tp, leader in looked.leaders.items() if tp in self._flow.claims}
        ends = await self._epoch_ends(leaders) if leaders else {}
        stands = self._standstill.look(self._flow.positions, ends, busy=self._flow.busy)
        if stands is not None:
            self._fail(RuntimeError(stands))

    async def _measure(self) -> None:
        """Keep the lag true while nothing is fetched: a flush that waits for its store holds up the rest."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            with contextlib.suppress(*LOG_OUTAGES, LookupError):
                await self._lag.measure()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(min(0.25, self._hold_seconds / 4))
            if self._stopping.is_set():
                return
            try:
                await self._flow.tick()
            except Exception as error:  # noqa: BLE001 - it ends the process
                self._fail(error)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: Consumer[Any]) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._consumer.revoked(revoked)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        await self._consumer.assigned(assigned)
