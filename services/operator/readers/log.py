"""The log: descriptions of topics, their offsets, and records between offsets. No consumer group is joined."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from contracts.marks import MarkName
from services.common.kafka import partition_ids, topic_ids, wait_for_broker
from services.common.settings import KafkaSettings

# Partition -> first offset, and the one after the last.
Spans = Mapping[TopicPartition, tuple[int, int]]


@dataclass(frozen=True)
class Offsets:
    """Where partitions begin and end at one moment.

    Attributes:
        at: that moment, monotonic seconds.
        ids: topic -> its id.
        starts, ends: the first offset that the log still has, and the one after the last.
    """

    at: float
    ids: dict[str, str]
    starts: dict[TopicPartition, int]
    ends: dict[TopicPartition, int]

    @property
    def records(self) -> int:
        """How many records there are at most: compaction leaves holes."""
        return sum(self.ends.values()) - sum(self.starts.values())

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has. `ends` may have been narrowed to some of them."""
        return sum(tp.topic == topic for tp in self.starts)

    def spans(self, topic: str) -> Spans:
        """All that the log has of a topic."""
        return {tp: (self.starts[tp], end) for tp, end in sorted(self.ends.items()) if tp.topic == topic}

    def mark(self, tp: TopicPartition) -> MarkName:
        """What stores call their mark of a partition."""
        return MarkName(self.ids[tp.topic], tp.partition)

    def lag(self, tp: TopicPartition, mark: int | None) -> int:
        """Records between a store's mark (None: it has none) and the end. What has expired is not waited for."""
        return max(0, self.ends[tp] - max(self.starts[tp], mark or 0))

    def behind(self, marks: Mapping[MarkName, int]) -> int:
        """The lag of a store over all partitions."""
        return sum(self.lag(tp, marks.get(self.mark(tp))) for tp in self.ends)


@asynccontextmanager
async def consumer(settings: KafkaSettings, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group while the block runs; the block assigns partitions to it."""
    chosen = {"auto_offset_reset": "earliest", "max_partition_fetch_bytes": 2 << 20, **options}
    made = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False, **chosen)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client while the block runs."""
    made = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    try:
        await made.start()
        yield made
    finally:
        await made.close()


async def offsets(settings: KafkaSettings, topics: Iterable[str]) -> Offsets:
    """Ask for the offsets of topics. Raises ConnectionError, KafkaError; LookupError for a topic that is missing."""
    names = list(topics)
    ids = await topic_ids(settings.bootstrap_servers, names)
    async with consumer(settings) as log:
        found = [TopicPartition(name, p) for name in names for p in sorted(await partition_ids(log, name))]
        starts, ends = await asyncio.gather(log.beginning_offsets(found), log.end_offsets(found))
    return Offsets(time.monotonic(), ids, starts, ends)


async def records(settings: KafkaSettings, spans: Spans) -> AsyncGenerator[Any, None]:
    """Every record (aiokafka ConsumerRecord) of these spans, in the order of each partition."""
    wanted = {tp: span for tp, span in spans.items() if span[0] < span[1]}
    if not wanted:
        return
    async with consumer(settings) as log:
        log.assign(list(wanted))
        for tp, (first, _) in wanted.items():
            log.seek(tp, first)
        while left := [tp for tp, (_, upto) in wanted.items() if await log.position(tp) < upto]:
            for tp, batch in (await log.getmany(*left, timeout_ms=200, max_records=5_000)).items():
                for record in batch:
                    if record.offset < wanted[tp][1]:
                        yield record


async def timestamps(
    settings: KafkaSettings, wanted: Mapping[TopicPartition, int], seconds: float
) -> dict[TopicPartition, int]:
    """Partition -> time (ms) of the first record from an offset on, of those that can be read in `seconds`."""
    left, deadline, found = set(wanted), time.monotonic() + seconds, {}
    if not left:
        return {}
    async with consumer(settings, fetch_max_wait_ms=50, max_partition_fetch_bytes=64 * 1024) as log:
        log.assign(list(wanted))
        for tp, offset in wanted.items():
            log.seek(tp, offset)
        while left and time.monotonic() < deadline:
            for tp, batch in (await log.getmany(*left, timeout_ms=100, max_records=len(left))).items():
                found[tp] = batch[0].timestamp
                left.discard(tp)
    return found


_BROKER_SECONDS: Final = 10.0
_SET_FOR_THE_TOPIC: Final = 1
# The cluster decides how many in-sync copies must answer.
_OF_THE_CLUSTER: Final = frozenset({"min.insync.replicas"})


@dataclass(frozen=True)
class LogTopic:
    """The current offsets of a topic: per partition the first one and the one after the last."""

    topic_id: str
    config: dict[str, str]
    starts: dict[int, int]
    ends: dict[int, int]


async def describe(settings: KafkaSettings, names: Sequence[str], wait_seconds: float = 0.0) -> dict[str, LogTopic]:
    """Those of the topics that exist, all asked at one moment. Raises ConnectionError when no broker answers.

    A broker may learn of a new topic late, so this waits for missing ones.
    """
    await wait_for_broker(settings, _BROKER_SECONDS)
    deadline = time.monotonic() + wait_seconds
    async with admin(settings) as kafka:
        there = set(names) & set(await kafka.list_topics())
        while len(there) < len(set(names)) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            there = set(names) & set(await kafka.list_topics())
        configs = await _configs(kafka, sorted(there)) if there else {}
    if not there:
        return {}
    log = await offsets(settings, sorted(there))
    found = {name: LogTopic(topic_id, configs[name], {}, {}) for name, topic_id in log.ids.items()}
    for tp, end in sorted(log.ends.items()):
        found[tp.topic].starts[tp.partition], found[tp.topic].ends[tp.partition] = log.starts[tp], end
    return found


async def _configs(kafka: Any, names: Sequence[str]) -> dict[str, dict[str, str]]:
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    answers = [resource for answer in await kafka.describe_configs(asked) for resource in answer.resources]
    return {
        name: {
            key: value
            for key, value, _, source, *_rest in entries
            if source == _SET_FOR_THE_TOPIC and key not in _OF_THE_CLUSTER
        }
        for _, _, _, name, entries in answers
    }
