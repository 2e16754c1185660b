"""What a rebuild is to read: bounds as people write them, turned into offsets of partitions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.topics import FEEDBACK, TOPICS
from services.common.kafka import partition_ids, topic_ids
from services.common.settings import KafkaSettings
from services.rebuild.job import Partition

# Others lose records by design: what was replaced, or what is old.
_KEPT = frozenset(topic.name for topic in TOPICS if topic.cleanup == "keep")
_BY_USER = frozenset(topic.name for topic in TOPICS if topic.keyed_by == "user")
Offsets = Mapping[tuple[str, int], int]


@dataclass(frozen=True)
class Bound:
    """Where to begin or to stop before: a time of the log (ms), or offsets by (topic, partition); neither: its edge."""

    time: int | None = None
    offsets: Offsets | None = None
    text: str = ""

    @property
    def is_edge(self) -> bool:
        """Whether nothing was asked for."""
        return self.time is None and self.offsets is None


_EDGE = Bound()


@dataclass(frozen=True)
class Plan:
    """Partitions to read, and what of them the log does not have any more."""

    partitions: tuple[Partition, ...]
    gaps: tuple[str, ...]

    @property
    def records(self) -> int:
        """How many records there are to read, at most (compaction leaves holes)."""
        return sum(partition.size for partition in self.partitions)


def bound_of(text: str | None, edge: str) -> Bound:
    """`edge` (or nothing), a time in ISO 8601 (UTC unless it says otherwise), or `topic/partition=offset,…`.

    Raises ValueError with the three forms.
    """
    if text is None or text == edge:
        return Bound()
    try:
        if "=" in text:
            return Bound(offsets=dict(_offset(part) for part in text.split(",")), text=text)
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no place in the log; write `{edge}`, a time like 2026-05-01T12:00 (UTC), or offsets like "
            f"{FEEDBACK.name}/0=1200,{FEEDBACK.name}/1=900"
        ) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Bound(time=int(moment.timestamp() * 1000), text=text)


def _offset(part: str) -> tuple[tuple[str, int], int]:
    place, _, offset = part.strip().partition("=")
    topic, _, partition = place.rpartition("/")
    if topic not in _BY_USER:
        raise ValueError(f"no topic {topic!r}")
    return (topic, int(partition)), int(offset)


async def planned(settings: KafkaSettings, topics: Sequence[str], since: Bound = _EDGE, until: Bound = _EDGE) -> Plan:
    """The partitions of these topics with their bounds.

    Raises ConnectionError, LookupError (a topic is missing), aiokafka's KafkaError.
    """
    ids = await topic_ids(settings.bootstrap_servers, topics)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        counts = {topic: len(await partition_ids(consumer, topic)) for topic in topics}
        tps = [TopicPartition(topic, p) for topic in topics for p in range(counts[topic])]
        begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        starts, stops = await _offsets(consumer, since, ends), await _offsets(consumer, until, ends)
    finally:
        await consumer.stop()
    whole = since.is_edge and until.is_edge
    partitions = []
    for tp in tps:
        # A part of the log is read up to its end as of now; the whole log is followed.
        stop = stops.get(tp) if whole else min(ends[tp], stops.get(tp, ends[tp]))
        partitions.append(
            Partition(
                topic=tp.topic,
                topic_id=ids[tp.topic],
                partition=tp.partition,
                partitions=counts[tp.topic],
                start=starts.get(tp),
                until=stop,
                begin=begins[tp],
                end=ends[tp],
                size=max(0, (ends[tp] if stop is None else stop) - max(begins[tp], starts.get(tp, 0))),
            )
        )
    return Plan(tuple(partitions), tuple(_gap(tp, begins[tp]) for tp in tps if _lost(tp, begins[tp], since)))


async def _offsets(consumer: Any, bound: Bound, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Offsets by partition; none for the edge. A time after the last record is the end of the log."""
    if bound.offsets is not None:
        return {tp: bound.offsets[(tp.topic, tp.partition)] for tp in ends if (tp.topic, tp.partition) in bound.offsets}
    if bound.time is None:
        return {}
    found = await consumer.offsets_for_times(dict.fromkeys(ends, bound.time))
    return {tp: ends[tp] if at is None else at.offset for tp, at in found.items()}


def _lost(tp: TopicPartition, begin: int, since: Bound) -> bool:
    return bool(begin) and since.is_edge and tp.topic in _KEPT


def _gap(tp: TopicPartition, begin: int) -> str:
    return f"{tp.topic}/{tp.partition}: offsets 0 to {begin - 1} are not in the log any more (expired or deleted)"
