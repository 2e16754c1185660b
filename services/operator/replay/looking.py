"""Looking without writing: what a rebuild would read, how long it would take, and what one listener would become."""

import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from contracts.fold import UNFOLDED_FIELDS
from services.common.settings import KafkaSettings, Settings
from services.operator.parity import Difference
from services.operator.replay.drilldown import Explained, explain, rebuilt
from services.operator.replay.records import records_of
from services.profiles.generations import Generations
from services.profiles.keys import ShardKeys
from services.profiles.writes import effect_of
from services.rebuild.planning import Plan

_SAMPLE_SECONDS = 2.0
# What writing costs beside reading, as measured by `python -m tests.bench replay`.
_WRITING = 1.5


@dataclass(frozen=True)
class Estimate:
    """What a rebuild would read. `seconds`: about how long it takes; `sample`: records a second of one process here."""

    plan: Plan
    workers: int
    sample: float
    seconds: float


async def estimate(settings: KafkaSettings, plan: Plan, workers: int) -> Estimate:
    """Read and decode the topic with the biggest partition for two seconds, and write nothing."""
    biggest = max(plan.partitions, key=lambda partition: partition.size)
    began, records = time.perf_counter(), 0
    if biggest.size:
        async with aclosing(records_of(settings, biggest.topic)) as found:
            async for record in found:
                effect_of(record)
                records += 1
                if records == biggest.size or time.perf_counter() - began > _SAMPLE_SECONDS:
                    break
    sample = records / (time.perf_counter() - began)
    seconds = plan.records / (sample * workers) * _WRITING if sample else 0.0
    return Estimate(plan, workers, sample, seconds)


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
