"""The composition root of the recommender: its parts, their start and stop."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

import numpy as np
from fastapi import FastAPI
from redis.asyncio import Redis
from redis.exceptions import RedisError
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from contracts.tokens import Signer
from contracts.topics import CATALOGUE, MODELS
from services.common.http.server import HttpServer, stop_on_signals
from services.common.process.clock import now_ms
from services.common.process.identity import ProcessIdentity
from services.common.process.loop import end
from services.common.redis import connect
from services.common.settings import Settings
from services.profiles.reader import ProfileReader
from services.recommender.answering import Answering
from services.recommender.arms import all_arms
from services.recommender.composing import Composer
from services.recommender.eligible import resting
from services.recommender.following import Follower
from services.recommender.freshness import LogEnds
from services.recommender.http import HttpParts, build_app
from services.recommender.live_models import Opener
from services.recommender.metrics import observe_arm
from services.recommender.models import open_from_server, open_model
from services.recommender.playlist_log import PlaylistLog
from services.recommender.prefetch import Prefetcher
from services.recommender.profile_vectors import ProfileVectors
from services.recommender.profile_views import ProfileViews
from services.recommender.recent import Recent
from services.recommender.serving import PlaylistService
from services.recommender.snapshots import SnapshotStore

logger = logging.getLogger(__name__)

# The gateway times out after `recommender_timeout_seconds`; a 503 with its reason must arrive before.
_LOG_SHARE: Final = 0.8
_PING_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 5


class Parts:
    """The parts of a running recommender. `running` creates, starts and stops them.

    `tasks` follow the log; they end only on an error.
    """

    def __init__(self, settings: Settings, redis: Redis, rng: np.random.Generator, opener: Opener) -> None:
        own, memory = settings.recommender, settings.recommender.cache_mb << 20
        self.tasks: list[asyncio.Task[None]] = []
        self.redis = redis
        self.snapshots = SnapshotStore(opener)
        self.follower = Follower(settings.kafka, (CATALOGUE.name, MODELS.name), self.snapshots.take)
        timeout = min(
            settings.kafka.request_timeout_ms / 1000, _LOG_SHARE * settings.gateway.recommender_timeout_seconds
        )
        self.log = PlaylistLog(settings.kafka, timeout)
        self.ends = LogEnds(settings.kafka)
        self.reader = ProfileReader(redis, cache_bytes=memory // 4)
        vectors = ProfileVectors(memory // 2)
        self.recommender = PlaylistService(
            snapshots=self.snapshots,
            reader=self.reader,
            log=self.log,
            composer=Composer(all_arms(), vectors, own.order, own.cold_start, rng, observe_arm),
            prefetcher=Prefetcher(settings.qdrant.search_seconds),
            answering=Answering(Signer(settings.signing_key()), vectors, now_ms),
            profile_views=ProfileViews(cache_bytes=memory * 3 // 16, cold_songs=own.cold_songs),
            ends=self.ends,
            recent=Recent(memory // 16),
            resting=partial(resting, after_shown=own.rest_after_shown, rest=own.rest_playlists),
            wait_ms=own.wait_ms,
            clock=now_ms,
        )

    async def not_ready(self) -> dict[str, str]:
        """The parts that are missing for serving a playlist: part -> what to do. It checks each part on every call.

        An empty catalogue does not count as missing, because songs may arrive at any time; `songs` of /readyz shows it.
        """
        missing: dict[str, str] = {}
        if not self.snapshots.ready.is_set():
            missing["catalogue"] = self.follower.trouble or "the catalogue is being read"
        redis, log = await asyncio.gather(self._redis_answers(), self.log.answers(_PING_SECONDS))
        if not redis:
            missing["redis"] = "the store of profiles does not answer; its address is ANIMUSIC_REDIS__URL"
        if not log:
            missing["log"] = "the log does not answer; its address is ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS"
        return missing

    async def follows(self) -> dict[str, dict[str, Any]]:
        """The lag of each part in records; also for how long (s), for topics that this process follows."""
        found = {"catalogue and models": self.follower.lag_report()}
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_PING_SECONDS):
                lag = self.ends.lag(await self.reader.marks())
            if lag is not None:
                found["profiles"] = {"lag": lag}
        return found

    async def _redis_answers(self) -> bool:
        try:
            async with asyncio.timeout(_PING_SECONDS):
                return bool(await self.redis.ping())
        except (RedisError, OSError, TimeoutError):
            return False


@asynccontextmanager
async def running(settings: Settings, rng: np.random.Generator | None = None) -> AsyncIterator[tuple[FastAPI, Parts]]:
    """A started recommender and its HTTP application; stopped at exit.

    The application answers at once; `/readyz` answers 503 until the catalogue has been read. `rng` is for tests; by
    default the operating system seeds the draws.
    """
    redis = connect(settings.redis)
    opener, close_qdrant = _opener(settings)
    parts = Parts(settings, redis, rng or np.random.default_rng(), opener)
    parts.tasks = [
        asyncio.create_task(parts.follower.run(), name="follow catalogue and models"),
        asyncio.create_task(parts.ends.run(), name="poll the ends of feedback"),
        asyncio.create_task(
            parts.snapshots.run(parts.follower.caught_up), name="keep the catalogue snapshot up to date"
        ),
    ]
    try:
        # At our sizes, BLAS threads cost more in waiting than they save.
        with threadpool_limits(1, user_api="blas"):
            identity = ProcessIdentity.of("recommender", settings)
            yield build_app(HttpParts(parts.recommender, identity, parts.not_ready, parts.follows)), parts
    finally:
        await end(*parts.tasks)
        await parts.log.close()
        await redis.aclose()
        await close_qdrant()


def _opener(settings: Settings) -> tuple[Opener, Callable[[], Awaitable[None]]]:
    """What opens collections (on the configured server, else in this process), and what closes the connection."""
    if settings.qdrant.url is None:
        return partial(open_model, vectors_dir=settings.vectors_dir), _nothing
    # Imported here: a single machine does not need the client.
    from services.common.vectors.server import client_of

    client = client_of(settings.qdrant)
    return partial(open_from_server, client=client, loop=asyncio.get_running_loop()), client.close


async def _nothing() -> None:
    """There is nothing to close."""


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT: finish the requests under way, then close everything.

    Raises CannotListen when the port is in use.
    """
    own = settings.recommender
    async with running(settings) as (app, parts):
        server = HttpServer(app, stop_seconds=_STOP_SECONDS)
        with stop_on_signals(server.stop):
            server.start(own.host, own.port, "ANIMUSIC_RECOMMENDER__PORT")
            # If following the log fails, the catalogue stays old. So the process stops; its supervisor restarts it.
            await asyncio.wait({server.serving, *parts.tasks}, return_when=asyncio.FIRST_COMPLETED)
            await server.close()
        for task in parts.tasks:
            if task.done():
                task.result()
