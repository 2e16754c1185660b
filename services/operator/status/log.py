"""How Kafka is: brokers, partitions without leader or copy, dead letters, live models, the oldest unhandled records."""

import asyncio
import time
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contracts.models import LiveModel
from contracts.records import MODEL_VERSIONS
from contracts.topics import DEAD_LETTERS, MODELS, TOPICS
from services.common.clock import now_ms
from services.common.kafka import read_to_end
from services.common.settings import KafkaSettings
from services.operator.dlq.log import read_dead_letters
from services.operator.dlq.model import OPEN
from services.operator.status.model import Lag, Letters, LogHealth

_HOUR_MS = 3_600_000


async def brokers_and_topics(settings: KafkaSettings) -> LogHealth:
    """What the brokers say of themselves and of our topics."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
        there = set(await admin.list_topics())
        ours = sorted({topic.name for topic in TOPICS} & there)
        described = await admin.describe_topics(ours) if ours else []
    finally:
        await admin.close()
    parts = [(f"{topic['topic']}/{part['partition']}", part) for topic in described for part in topic["partitions"]]
    return LogHealth(
        cluster=str(cluster.get("cluster_id") or ""),
        brokers=len(cluster["brokers"]),
        topics=len(ours),
        missing=sorted({topic.name for topic in TOPICS} - there),
        leaderless=[name for name, part in parts if part["leader"] < 0],
        under_replicated=[name for name, part in parts if len(part["isr"]) < len(part["replicas"])],
    )


async def letters(settings: KafkaSettings, hours: int) -> Letters:
    """The dead letters; those of the last `hours` are new."""
    found = await read_dead_letters(settings)
    held = list(found.by_id.values())
    still = [letter for letter in held if letter.state == OPEN]
    since = now_ms() - hours * _HOUR_MS
    last = max(still, key=lambda letter: letter.last.at, default=None)
    return Letters(
        total=len(held),
        open=len(still),
        new=sum(letter.last.found >= since for letter in still),
        last_reason=f"{last.last.place}: {last.reason}" if last else "",
        last_ms=last.last.found if last else 0,
    )


async def letters_at_most(settings: KafkaSettings) -> Letters:
    """The same where there are too many to be read in time: their number, as the offsets tell it."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    try:
        await consumer.start()
        at = TopicPartition(DEAD_LETTERS.name, 0)
        number = (await consumer.end_offsets([at]))[at] - (await consumer.beginning_offsets([at]))[at]
    finally:
        await consumer.stop()
    return Letters(total=number, open=number, new=number, last_reason="too many to read; see `animusic dlq list`")


async def live_models(settings: KafkaSettings) -> dict[str, LiveModel]:
    """Arm -> the version that the log says is live."""
    found: dict[str, LiveModel] = {}
    async for batch in read_to_end(settings, MODELS.name):
        for record in batch:
            if record.value:
                model = MODEL_VERSIONS.read(record.value)
                found[model.arm] = model
    return found


async def times(settings: KafkaSettings, lags: Iterable[Lag], seconds: float) -> dict[tuple[TopicPartition, int], int]:
    """(partition, mark) -> time (ms) of the first unhandled record, of those that lag and can be read in `seconds`."""
    left = {(TopicPartition(lag.topic, lag.partition), lag.mark or 0) for lag in lags if lag.lag}
    if not left:
        return {}
    deadline, found = time.monotonic() + seconds, {}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest",
        fetch_max_wait_ms=50, max_partition_fetch_bytes=64 * 1024,
    )  # fmt: skip
    try:
        await consumer.start()
        while left and time.monotonic() < deadline:
            turn = dict(sorted(left))
            consumer.assign(list(turn))
            for tp, offset in turn.items():
                consumer.seek(tp, offset)
            while turn and time.monotonic() < deadline:
                for tp, records in (await consumer.getmany(*turn, timeout_ms=100, max_records=len(turn))).items():
                    key = (tp, turn.pop(tp))
                    found[key] = records[0].timestamp
                    left.discard(key)
                await asyncio.sleep(0)
    finally:
        await consumer.stop()
    return found
