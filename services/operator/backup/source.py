"""What the log says about its topics: ids, partitions, configuration, and from where to where their records lie."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from services.common.kafka import refresh_metadata, topic_ids, wait_for_broker
from services.common.settings import KafkaSettings

_BROKER_SECONDS = 10.0
_FETCH_BYTES = 4 << 20
_SET_FOR_THE_TOPIC = 1
# How many copies must answer is a matter of the cluster that holds them.
_OF_THE_CLUSTER: Final = frozenset({"min.insync.replicas"})


@dataclass(frozen=True)
class LogTopic:
    """A topic as it is now: per partition the first offset and the one after the last."""

    topic_id: str
    config: dict[str, str]
    starts: dict[int, int]
    ends: dict[int, int]


async def describe(settings: KafkaSettings, names: Sequence[str], wait_seconds: float = 0.0) -> dict[str, LogTopic]:
    """Those of the topics that exist, all asked at one moment. Raises ConnectionError when no broker answers.

    A broker may hear of a topic some moments after its maker was answered: missing ones are waited for.
    """
    await wait_for_broker(settings, _BROKER_SECONDS)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        there = await _present(admin, set(names), wait_seconds)
        described = await admin.describe_topics(there) if there else []
        partitions = {topic["topic"]: sorted(p["partition"] for p in topic["partitions"]) for topic in described}
        configs = await _configs(admin, there) if there else {}
    finally:
        await admin.close()
    if not there:
        return {}
    ids = await topic_ids(settings.bootstrap_servers, there)
    starts, ends = await _bounds(settings, partitions)
    return {name: LogTopic(ids[name], configs[name], starts[name], ends[name]) for name in there}


async def _present(admin: AIOKafkaAdminClient, names: set[str], wait_seconds: float) -> list[str]:
    deadline = time.monotonic() + wait_seconds
    while True:
        there = set(await admin.list_topics())
        if names <= there or time.monotonic() > deadline:
            return sorted(names & there)
        await asyncio.sleep(0.1)


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    answers = [resource for answer in await admin.describe_configs(asked) for resource in answer.resources]
    return {
        name: {
            key: value
            for key, value, _, source, *_rest in entries
            if source == _SET_FOR_THE_TOPIC and key not in _OF_THE_CLUSTER
        }
        for _, _, _, name, entries in answers
    }


async def _bounds(
    settings: KafkaSettings, partitions: dict[str, list[int]]
) -> tuple[dict[str, dict[int, int]], dict[str, dict[int, int]]]:
    wanted = [TopicPartition(name, number) for name, numbers in partitions.items() for number in numbers]
    consumer = reader(settings)
    try:
        await consumer.start()
        # Else each topic is asked for when its turn comes, a tenth of a second each.
        await refresh_metadata(consumer)
        starts, ends = await consumer.beginning_offsets(wanted), await consumer.end_offsets(wanted)
    finally:
        await consumer.stop()
    by_topic = ({name: {n: found[TopicPartition(name, n)] for n in ns} for name, ns in partitions.items()}
                for found in (starts, ends))  # fmt: skip
    return next(by_topic), next(by_topic)


def reader(settings: KafkaSettings) -> AIOKafkaConsumer:
    """A consumer without a group that is told where to read. The caller starts and stops it."""
    return AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=_FETCH_BYTES,
        # A fetch that waits at the end of one partition would hold up the next one.
        fetch_max_wait_ms=20,
    )
