"""Detects stale profiles: they lag behind the log, or their store went back."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.marks import MarkName
from contracts.placement import partition_of, shard_of, shards_of_partition
from contracts.topics import FEEDBACK
from services.common.kafka import partition_ids, topic_ids
from services.common.settings import KafkaSettings
from services.profiles.reader import StoredProfile
from services.recommender.metrics import END_POLLS

logger = logging.getLogger(__name__)

# A profile follows the log within milliseconds. A record that is missing after this long counts as late.
LATE_SECONDS: Final = 5.0
POLL_SECONDS: Final = 1.0
_ANSWER_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Ends:
    """The end of each partition of the feedback topic, at one moment. `at`: monotonic seconds."""

    topic_id: str
    offsets: Mapping[int, int]
    at: float


class LogEnds:
    """Polls the ends of the feedback topic every second. While the log does not answer, the last result stays."""

    def __init__(self, settings: KafkaSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._polls: deque[Ends] = deque()

    def behind(self, user_id: str, marks: Mapping[str, int]) -> bool:
        """Whether the user's profile, which reflects `marks`, lacks records that were in the log LATE_SECONDS ago.

        If no poll is that old, the first one is used.
        """
        while len(self._polls) > 1 and self._clock() - self._polls[1].at >= LATE_SECONDS:
            self._polls.popleft()
        if not self._polls:
            return False
        ends = self._polls[0]
        partition = partition_of(user_id, len(ends.offsets))
        return marks.get(MarkName(ends.topic_id, partition).field(), 0) < ends.offsets[partition]

    def lag(self, marks: Sequence[Mapping[str, int]]) -> int | None:
        """Records that profiles lack, by the last poll; `marks` by shard. None before the first poll."""
        if not self._polls:
            return None
        ends = self._polls[-1]
        return sum(
            max(0, end - min(marks[shard].get(MarkName(ends.topic_id, partition).field(), 0) for shard in shards))
            for partition, end in ends.offsets.items()
            if (shards := shards_of_partition(partition, len(ends.offsets)))
        )

    def note(self, topic_id: str, offsets: Mapping[int, int]) -> None:
        """Store the result of a poll."""
        self._polls.append(Ends(topic_id, offsets, self._clock()))

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError, LookupError, RuntimeError, TimeoutError) as fault:
                END_POLLS.labels("failed").inc()
                logger.info("the ends of %s could not be fetched: %s", FEEDBACK.name, fault or type(fault).__name__)
                await asyncio.sleep(POLL_SECONDS)

    async def _follow(self) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._settings.bootstrap_servers, enable_auto_commit=False)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await consumer.start()
            while True:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self._poll(consumer)
                END_POLLS.labels("answered").inc()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await consumer.stop()

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        # A recreated topic has the same name, so its id and partitions are fetched each time.
        ids = await topic_ids(self._settings.bootstrap_servers, [FEEDBACK.name])
        partitions = [TopicPartition(FEEDBACK.name, number) for number in await partition_ids(consumer, FEEDBACK.name)]
        ends = await consumer.end_offsets(partitions)
        self.note(ids[FEEDBACK.name], {tp.partition: offset for tp, offset in ends.items()})


ACCEPT_AFTER_MS: Final = 600_000
_NONE: Final[Mapping[str, int]] = {}


class Watermarks:
    """The highest mark of each (generation, shard, log) that this process has seen.

    A store that stays behind for ACCEPT_AFTER_MS is accepted: then the log was replaced, too.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._highest: dict[tuple[str, int], dict[str, int]] = {}
        self._behind_since: dict[tuple[str, int], int] = {}

    def advance(self, user_id: str, profile: StoredProfile) -> bool:
        """False while a mark of the user's shard is lower than one seen before."""
        key = (profile.generation, shard_of(user_id))
        highest = self._highest.get(key, _NONE)
        if profile.marks == highest:
            return True
        if all(profile.marks.get(name, 0) >= mark for name, mark in highest.items()):
            self._highest[key] = dict(profile.marks)
            self._behind_since.pop(key, None)
            return True
        if self._clock() - self._behind_since.setdefault(key, self._clock()) > ACCEPT_AFTER_MS:
            del self._highest[key], self._behind_since[key]
        return False
