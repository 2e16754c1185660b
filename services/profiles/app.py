"""The composition root of `animusic serve profiles`."""

import logging

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from redis.asyncio import Redis

from contracts.topics import FEEDBACK, PLAYLISTS, PROFILES
from services.common.kafka.consuming.consumer import Consumer
from services.common.kafka.consuming.running import run_until_signal
from services.common.process.identity import ProcessIdentity
from services.common.redis import REDIS_OUTAGES, connect
from services.common.settings import Settings
from services.profiles.generations import Generations
from services.profiles.sink import ProfilesSink
from services.profiles.store import ProfileStore
from services.profiles.writes import Effect

TOPICS = (FEEDBACK.name, PROFILES.name, PLAYLISTS.name)


async def serve(settings: Settings) -> None:
    """Follow the log into Redis until SIGTERM or SIGINT; then flush and return.

    Raises SystemExit(75) if the store or the log is down for too long, or on an unexpected error: start it again.
    """
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    redis = connect(settings.redis)
    try:
        await run_until_signal(
            lambda: build(settings, redis, registry),
            registry,
            identity=ProcessIdentity.of("profiles", settings),
            port=settings.profiles.metrics_port,
            setting="ANIMUSIC_PROFILES__METRICS_PORT",
            outages=REDIS_OUTAGES,
        )
    finally:
        await redis.aclose()


async def build(settings: Settings, redis: Redis, registry: CollectorRegistry) -> Consumer[Effect]:
    """The consumer, not started yet. It follows the live generation unless the settings name one."""
    wanted = settings.profiles.generation
    pointer = Generations(redis)
    generation = wanted or await pointer.live()
    sink = ProfilesSink(ProfileStore(redis, generation), pointer if wanted is None else None)
    group = settings.profiles.group if wanted is None else f"{settings.profiles.group}.{wanted}"
    logging.getLogger("animusic.profiles").info("writing generation %s", generation)
    return Consumer(
        settings.kafka, sink, TOPICS, registry,
        group=group, max_records=settings.profiles.batch_records,
    )  # fmt: skip
