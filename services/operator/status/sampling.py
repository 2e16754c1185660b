"""Where the log ends and where the stores' marks are, at one moment; two such samples make rates."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from contracts.marks import MarkName
from contracts.topics import CATALOGUE, FEEDBACK, LEDGER, MODEL_BUILDS, MODELS, PLAYLISTS, PROFILES
from services.common.kafka import refresh_metadata, topic_ids
from services.common.settings import KafkaSettings, Settings
from services.operator.status.model import Lag

# What each store follows; a test holds this equal to what the services themselves say.
FOLLOWED: Final[dict[str, tuple[str, ...]]] = {
    "profiles": (FEEDBACK.name, PROFILES.name, PLAYLISTS.name),
    "warehouse": (
        FEEDBACK.name,
        PLAYLISTS.name,
        PROFILES.name,
        CATALOGUE.name,
        MODELS.name,
        MODEL_BUILDS.name,
        LEDGER.name,
    ),
}
Place = tuple[str, int]


@dataclass(frozen=True)
class LogSample:
    """The log: `starts` and `ends` by (topic, partition), `ids` by topic; `at` is monotonic seconds."""

    at: float
    ids: dict[str, str]
    starts: dict[Place, int]
    ends: dict[Place, int]

    @property
    def records(self) -> int:
        """How many records there are at most: compaction leaves holes."""
        return sum(self.ends.values()) - sum(self.starts.values())

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        return sum(name == topic for name, _ in self.ends)


@dataclass(frozen=True)
class Sample:
    """The log, and each store's marks by name; a store that did not answer is missing from `marks`."""

    log: LogSample
    marks: dict[str, Mapping[MarkName, int]] = field(default_factory=dict)


async def sample_log(settings: KafkaSettings, topics: list[str]) -> LogSample:
    """Ask the log for the ends of topics that exist."""
    ids = await topic_ids(settings.bootstrap_servers, topics)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    try:
        await consumer.start()
        await refresh_metadata(consumer)
        found = [TopicPartition(t, p) for t in topics for p in sorted(consumer.partitions_for_topic(t) or ())]
        starts, ends = await asyncio.gather(consumer.beginning_offsets(found), consumer.end_offsets(found))
    finally:
        await consumer.stop()
    at = time.monotonic()
    return LogSample(at, ids, {(t.topic, t.partition): o for t, o in starts.items()},
                     {(t.topic, t.partition): o for t, o in ends.items()})  # fmt: skip


async def committed(settings: Settings) -> dict[str, dict[Place, int]]:
    """What each group told Kafka; nothing for a group that Kafka does not know."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    try:
        await admin.start()
        found = {}
        for store, group in groups(settings).items():
            try:
                offsets = await admin.list_consumer_group_offsets(group)
            except KafkaError:
                continue
            found[store] = {(tp.topic, tp.partition): told.offset for tp, told in offsets.items() if told.offset >= 0}
        return found
    finally:
        await admin.close()


def groups(settings: Settings) -> dict[str, str]:
    """Store -> its consumer group."""
    return {"profiles": settings.profiles.group, "warehouse": settings.warehouse.group}


def lags(sample: Sample, names: Mapping[str, str]) -> list[Lag]:
    """One Lag for each partition that a store follows. `names`: store -> group."""
    found = []
    for store, marks in sample.marks.items():
        for (topic, partition), end in sorted(sample.log.ends.items()):
            if topic not in FOLLOWED[store]:
                continue
            mark = marks.get(MarkName(sample.log.ids[topic], partition))
            lag = max(0, end - max(sample.log.starts[topic, partition], mark or 0))
            found.append(Lag(store, names[store], topic, partition, end, mark, None, lag))
    return found


def with_committed(found: list[Lag], told: Mapping[str, Mapping[Place, int]]) -> list[Lag]:
    """The same with what each group told Kafka."""
    return [replace(lag, committed=told.get(lag.store, {}).get((lag.topic, lag.partition))) for lag in found]


def with_ages(found: list[Lag], times: Mapping[tuple[TopicPartition, int], int], now: int) -> list[Lag]:
    """The same with the age of the record at each mark. `times`: (partition, mark) -> time of that record, ms."""

    def aged(lag: Lag) -> Lag:
        at = times.get((TopicPartition(lag.topic, lag.partition), lag.mark or 0))
        return lag if at is None or not lag.lag else replace(lag, oldest_seconds=max(0.0, (now - at) / 1000))

    return [aged(lag) for lag in found]


def with_rates(found: list[Lag], before: Sample, after: Sample) -> list[Lag]:
    """The same with records a second between two samples."""
    seconds = max(after.log.at - before.log.at, 1e-3)

    def rates(lag: Lag) -> Lag:
        place = (lag.topic, lag.partition)
        old_end = before.log.ends.get(place)
        name = MarkName(after.log.ids[lag.topic], lag.partition)
        old_mark = before.marks.get(lag.store, {}).get(name)
        if old_end is None or before.log.ids.get(lag.topic) != name.topic_id:
            return lag
        handled = None if lag.mark is None or old_mark is None else max(0.0, (lag.mark - old_mark) / seconds)
        return replace(lag, incoming=max(0.0, (lag.end - old_end) / seconds), handled=handled)

    return [rates(lag) for lag in found]
