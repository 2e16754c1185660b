"""Reads whole topics from their first record on and follows them, without a consumer group."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from services.common.kafka import refresh_metadata
from services.common.settings import KafkaSettings

logger = logging.getLogger(__name__)

_POLL_MS: Final = 500
_RETRY_SECONDS: Final = 1.0


class Follower:
    """Passes every record of some topics to `take`, in order within a partition.

    `caught_up` is set once all records that existed at the start were passed. `trouble` says why it does not follow
    now; None while it does.
    """

    def __init__(self, settings: KafkaSettings, topics: Sequence[str], take: Callable[[list[Any]], None]) -> None:
        self._settings = settings
        self._topics = topics
        self._take = take
        self._next: dict[TopicPartition, int] = {}
        self._bounds: dict[TopicPartition, tuple[int, int]] = {}
        self._consumer: Any = None
        self._caught_up_at = time.monotonic()
        self.caught_up = asyncio.Event()
        self.trouble: str | None = "has not read the log yet"

    def lag_report(self) -> dict[str, Any]:
        """For /readyz: the lag in records at the last known end, its age (s), and the reason if known."""
        lag = self._lag()
        behind = {"lag": lag, "oldest_seconds": round(time.monotonic() - self._caught_up_at, 3) if lag else 0.0}
        return behind if self.trouble is None else {**behind, "trouble": self.trouble}

    def _lag(self) -> int:
        lag = 0
        for tp, (begin, end) in self._bounds.items():
            known_end = self._consumer.highwater(tp) if tp in self._consumer.assignment() else None
            lag += max(0, max(end, known_end or 0) - max(begin, self._next.get(tp, 0)))
        return lag

    async def run(self) -> None:
        """Follow until cancelled. It retries while the log is down; no record is passed twice or skipped."""
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError, LookupError) as fault:
                if self.trouble != str(fault):
                    logger.warning("cannot follow %s, trying again: %s", ", ".join(self._topics), fault)
                self.trouble = str(fault) or type(fault).__name__
                await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            self._consumer = consumer
            ends = await self._assign(consumer)
            self.trouble = None
            while True:
                if not self.caught_up.is_set() and await _reached(consumer, ends):
                    self.caught_up.set()
                for tp, records in (await consumer.getmany(timeout_ms=_POLL_MS, max_records=5_000)).items():
                    self._take(records)
                    self._next[tp] = records[-1].offset + 1
                if not self._lag():
                    self._caught_up_at = time.monotonic()
        finally:
            await consumer.stop()

    async def _assign(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        """Assign all partitions and seek to the next offsets; returns the current ends of the log."""
        partitions = [tp for topic in self._topics for tp in await _partitions(consumer, topic)]
        # Before the first fetch: a fetch that waits at the end delays other requests by half a second.
        begins: dict[TopicPartition, int] = await consumer.beginning_offsets(partitions)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        self._bounds = {tp: (begins[tp], ends[tp]) for tp in partitions}
        consumer.assign(partitions)
        for tp in partitions:
            if tp in self._next:
                consumer.seek(tp, self._next[tp])
            else:
                await consumer.seek_to_beginning(tp)
        return ends


async def _reached(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    return all([await consumer.position(tp) >= end for tp, end in ends.items()])


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    await refresh_metadata(consumer)
    found = consumer.partitions_for_topic(topic)
    if not found:
        raise LookupError(f"the log has no topic {topic}; `animusic topics` creates what is missing")
    return [TopicPartition(topic, partition) for partition in sorted(found)]
