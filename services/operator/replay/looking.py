"""Looking without writing: what a rebuild would read, how long it would take, and what one listener would become."""

import time
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from contracts.fold import UNFOLDED_FIELDS
from services.common.kafka.consuming.light import as_it_is
from services.common.settings import KafkaSettings, Settings
from services.operator.parity import Difference
from services.operator.replay.drilldown import Explained, explain, rebuilt
from services.operator.replay.folding import Held
from services.operator.replay.job import Partition
from services.operator.replay.planning import Plan
from services.profiles.generations import Generations
from services.profiles.keys import ShardKeys

_SAMPLE_SECONDS = 2.0
# What writing costs beside reading and folding, as measured by `python -m tests.bench replay`.
_WRITING = 1.5


@dataclass(frozen=True)
class Estimate:
    """What a rebuild would read. `seconds`: about how long it takes; `sample`: records a second of one process here."""

    plan: Plan
    workers: int
    sample: float
    seconds: float


async def estimate(settings: KafkaSettings, plan: Plan, workers: int) -> Estimate:
    """Read and fold the biggest partition for two seconds, and write nothing."""
    biggest = max(plan.partitions, key=lambda partition: partition.size)
    began = time.perf_counter()
    records = await _fold_for(settings, biggest, began + _SAMPLE_SECONDS) if biggest.size else 0
    sample = records / (time.perf_counter() - began)
    seconds = plan.records / (sample * workers) * _WRITING if sample else 0.0
    return Estimate(plan, workers, sample, seconds)


async def _fold_for(settings: KafkaSettings, partition: Partition, deadline: float) -> int:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest",
        value_deserializer=as_it_is,
    )  # fmt: skip
    await consumer.start()
    held, records = Held(partition.topic), 0
    try:
        tp = TopicPartition(partition.topic, partition.partition)
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        if partition.start is not None:
            consumer.seek(tp, partition.start)
        while records < partition.size and time.perf_counter() < deadline:
            found = (await consumer.getmany(tp, timeout_ms=200, max_records=2_000)).get(tp, [])
            if found:
                held.add(found)
            records += len(found)
    finally:
        await consumer.stop()
    return records


@dataclass(frozen=True)
class OneUser:
    """A listener as the log says (`right`) beside the live generation (`left`)."""

    user_id: str
    generation: str
    live: dict[bytes, bytes]
    built: dict[bytes, bytes]
    differences: list[Difference]
    explained: list[Explained]


async def one_user(settings: Settings, redis: Redis, user_id: str, plan: Plan) -> OneUser:
    """Rebuild one listener in memory and compare. Raises LookupError when neither log nor store knows the listener."""
    generation = await Generations(redis).live()
    keys = ShardKeys.of_user(generation, user_id)
    live: Any = await redis.hgetall(keys.user(user_id))
    for name in UNFOLDED_FIELDS:
        live.pop(name, None)
    built = await rebuilt(settings.kafka, user_id, plan.partitions)
    if not live and not built and not await redis.sismember(keys.forgotten, user_id):
        raise LookupError(f"neither the log nor generation {generation} knows a listener {user_id}")
    names = sorted(live.keys() | built.keys())
    differences = [
        Difference(user_id, name, live.get(name), built.get(name))
        for name in names
        if live.get(name) != built.get(name)
    ]
    return OneUser(user_id, generation, live, built, differences, await explain(settings.kafka, differences))
