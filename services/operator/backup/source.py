"""Describes topics of the log: ids, configuration, and the first and last offset of each partition."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from services.common.kafka import wait_for_broker
from services.common.settings import KafkaSettings
from services.operator.readers.log import admin, offsets

_BROKER_SECONDS: Final = 10.0
_SET_FOR_THE_TOPIC: Final = 1
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
