"""The log's side: bounds that both stores have reached, and what the records before them come to."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import ValidationError

from contracts.events import FeedbackEvent, read_event
from contracts.fold import Folded, served_writes, writes
from contracts.plain_feedback import is_plain
from contracts.topics import FEEDBACK
from services.common.kafka import partition_ids
from services.common.settings import KafkaSettings
from services.operator.verify.model import Sample

# Rows are summed up in ranges of this many offsets; where two sums differ, the range is read row by row.
RANGE: Final = 20_000
_MODULUS: Final = 1 << 128
Letters = Mapping[tuple[str, int, int], frozenset[str]]


@dataclass(frozen=True)
class Bounds:
    """One feedback partition: it is compared from `begin` to before `upto`. `partial`: the log lost what was before."""

    topic_id: str
    partition: int
    begin: int
    upto: int

    @property
    def tp(self) -> TopicPartition:
        """As aiokafka names it."""
        return TopicPartition(FEEDBACK.name, self.partition)

    @property
    def partial(self) -> bool:
        """Whether what lies before is gone from the log, so that a store may rightly hold more."""
        return self.begin > 0


@dataclass
class Range:
    """Records of so many offsets, as they must be among the rows: their number, and an order-free sum."""

    records: int = 0
    digest: int = 0

    def add(self, event_id: int, received_at: int, offset: int, hashed_user: int) -> None:
        """Take one in; the same arithmetic stands in `clickhouse.RANGES`."""
        self.records += 1
        self.digest = (self.digest + (event_id + hashed_user) * (offset + 1) + received_at) % _MODULUS


@dataclass
class Told:
    """What the log tells of one partition.

    Attributes:
        redis, clickhouse: sampled user -> fold; they differ only by records that one store alone refused.
        ranges: first offset // RANGE -> records.
        strays: sampled users who live in another partition now (the topic had fewer once).
        explained: records that are dead letters.
    """

    redis: dict[str, Folded] = field(default_factory=dict)
    clickhouse: dict[str, Folded] = field(default_factory=dict)
    ranges: dict[int, Range] = field(default_factory=dict)
    strays: set[str] = field(default_factory=set)
    explained: int = 0


def half_md5(text: str) -> int:
    """ClickHouse's halfMD5."""
    return int.from_bytes(md5(text.encode(), usedforsecurity=False).digest()[:8], "big")


def refused_by(letters: Letters, record: Any) -> frozenset[str]:
    """The steps that sent this record to the dead letters."""
    return letters.get((record.topic, record.partition, record.offset), frozenset())


def take(folds: dict[str, Folded], event: FeedbackEvent, *, served_only: bool) -> None:
    """Fold one event in."""
    user = folds.setdefault(event.user_id, Folded())
    for write in served_writes(event) if served_only else writes(event):
        user.apply(write)


class Telling:
    """Folds one partition's records."""

    def __init__(self, sample: Sample, letters: Letters, lives_here: Any) -> None:
        self._sample = sample
        self._letters = letters
        self._lives_here = lives_here
        self._users: dict[str, tuple[bool, int]] = {}
        self.told = Told()

    def add(self, record: Any) -> None:
        """Take one record in."""
        refused = refused_by(self._letters, record)
        if not refused and record.value is not None and is_plain(record.value) and self._counted_only(record):
            return
        event = read(record)
        if event is None:
            self.told.explained += 1
            return
        self.told.explained += bool(refused)
        sampled, hashed = self._known(event.user_id)
        if "warehouse" not in refused:
            self._range(record).add(event.event_id.int, event.received_at, record.offset, hashed)
        if sampled:
            self._fold(event, refused)

    def _counted_only(self, record: Any) -> bool:
        """Of a user who is not in the sample only the row counts: an eighth of the work of reading the whole event."""
        said = orjson.loads(record.value)
        sampled, hashed = self._known(said["user_id"])
        if not sampled:
            event_id = int(said["event_id"].replace("-", ""), 16)
            self._range(record).add(event_id, said["received_at"], record.offset, hashed)
        return not sampled

    def _range(self, record: Any) -> Range:
        return self.told.ranges.setdefault(record.offset // RANGE, Range())

    def _fold(self, event: FeedbackEvent, refused: frozenset[str]) -> None:
        if not self._lives_here(event.user_id):
            self.told.strays.add(event.user_id)
        if "profiles" not in refused:
            take(self.told.redis, event, served_only=True)
        if "warehouse" not in refused:
            take(self.told.clickhouse, event, served_only=False)

    def _known(self, user_id: str) -> tuple[bool, int]:
        found = self._users.get(user_id)
        if found is None:
            if len(self._users) > 200_000:
                self._users.clear()
            found = self._users[user_id] = self._sample.holds(user_id), half_md5(user_id)
        return found


def read(record: Any) -> FeedbackEvent | None:
    """The event; None for what nobody can read."""
    if record.value is None:
        return None
    try:
        return read_event(record.value)
    except ValidationError:
        return None


async def records(settings: KafkaSettings, spans: Mapping[TopicPartition, tuple[int, int]]) -> AsyncIterator[list[Any]]:
    """Records of these partitions from the first offset to before the second, in batches; no group is touched."""
    wanted = {tp: span for tp, span in spans.items() if span[0] < span[1]}
    if not wanted:
        return
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest",
        client_id="animusic-verify", max_partition_fetch_bytes=2 << 20,
    )  # fmt: skip
    await consumer.start()
    try:
        consumer.assign(list(wanted))
        for tp, (first, _) in wanted.items():
            consumer.seek(tp, first)
        while left := [tp for tp, (_, upto) in wanted.items() if await consumer.position(tp) < upto]:
            for tp, batch in (await consumer.getmany(*left, timeout_ms=200, max_records=5_000)).items():
                yield [record for record in batch if record.offset < wanted[tp][1]]
    finally:
        await consumer.stop()


async def edges(settings: KafkaSettings, topics: list[str]) -> dict[TopicPartition, tuple[int, int]]:
    """Where each partition begins and ends now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        tps = [TopicPartition(topic, p) for topic in topics for p in sorted(await partition_ids(consumer, topic))]
        begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        return {tp: (begins[tp], ends[tp]) for tp in tps}
    finally:
        await consumer.stop()


async def folds_of(
    settings: KafkaSettings,
    spans: Mapping[TopicPartition, tuple[int, int]],
    users: Collection[str],
    letters: Letters,
    counts: Callable[[str, Any], bool] = lambda user_id, record: True,
) -> tuple[dict[str, Folded], dict[str, Folded]]:
    """What these users' records in these spans come to: for Redis, for ClickHouse. `counts` may leave records out."""
    redis: dict[str, Folded] = {}
    clickhouse: dict[str, Folded] = {}
    async for batch in records(settings, spans):
        for record in batch:
            event = read(record)
            if event is None or event.user_id not in users or not counts(event.user_id, record):
                continue
            refused = refused_by(letters, record)
            if "profiles" not in refused:
                take(redis, event, served_only=True)
            if "warehouse" not in refused:
                take(clickhouse, event, served_only=False)
    return redis, clickhouse
