"""How far the log of feedback is: a profile that lags behind it is noticed, also by a process that just started."""

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
from contracts.placement import partition_of, shards_of_partition
from contracts.topics import FEEDBACK
from services.common.kafka import partition_ids, topic_ids
from services.common.settings import KafkaSettings
from services.recommender.metrics import FEEDBACK_LOOKS

_log = logging.getLogger(__name__)

# A profile follows the log within milliseconds; what was in it for so long is not merely on its way.
LATE_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 1.0
_ANSWER_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Ends:
    """The end of each partition of the feedback topic, as of one moment. `at`: monotonic seconds."""

    topic_id: str
    offsets: Mapping[int, int]
    at: float


class LogEnds:
    """Looks at the ends of the feedback topic every second. While the log does not answer, the last look stays."""

    def __init__(self, settings: KafkaSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._looks: deque[Ends] = deque()

    def behind(self, user_id: str, marks: Mapping[str, int]) -> bool:
        """Whether the user's profile, which reflects `marks`, lacks what was in the log LATE_SECONDS ago.

        Until there is a look of that age the first one counts: what was there when this process started.
        """
        while len(self._looks) > 1 and self._clock() - self._looks[1].at >= LATE_SECONDS:
            self._looks.popleft()
        if not self._looks:
            return False
        ends = self._looks[0]
        partition = partition_of(user_id, len(ends.offsets))
        return marks.get(MarkName(ends.topic_id, partition).field(), 0) < ends.offsets[partition]

    def lag(self, marks: Sequence[Mapping[str, int]]) -> int | None:
        """Records of the last look that profiles lack; `marks` by shard. None before there was a look."""
        if not self._looks:
            return None
        ends = self._looks[-1]
        return sum(
            max(0, end - min(marks[shard].get(MarkName(ends.topic_id, partition).field(), 0) for shard in shards))
            for partition, end in ends.offsets.items()
            if (shards := shards_of_partition(partition, len(ends.offsets)))
        )

    def note(self, topic_id: str, offsets: Mapping[int, int]) -> None:
        """Take a look's answer."""
        self._looks.append(Ends(topic_id, offsets, self._clock()))

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError, LookupError, RuntimeError, TimeoutError) as fault:
                FEEDBACK_LOOKS.labels("failed").inc()
                _log.info("the ends of %s are not known just now: %s", FEEDBACK.name, fault or type(fault).__name__)
                await asyncio.sleep(LOOK_SECONDS)

    async def _follow(self) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._settings.bootstrap_servers, enable_auto_commit=False)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await consumer.start()
            while True:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self._look(consumer)
                FEEDBACK_LOOKS.labels("answered").inc()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await consumer.stop()

    async def _look(self, consumer: AIOKafkaConsumer) -> None:
        # A topic made again has the same name: its id is asked each time, and its partitions with it.
        ids = await topic_ids(self._settings.bootstrap_servers, [FEEDBACK.name])
        partitions = [TopicPartition(FEEDBACK.name, number) for number in await partition_ids(consumer, FEEDBACK.name)]
        ends = await consumer.end_offsets(partitions)
        self.note(ids[FEEDBACK.name], {tp.partition: offset for tp, offset in ends.items()})
