"""A rebuild of profiles beside the live ones: equal, switched once, resumed after any kill, and never two at a time."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.topics import PLAYLISTS, PROFILES
from services.common.settings import KafkaSettings, Settings
from services.local.engines.valkey import ValkeyNode
from services.operator.parity import digest_of
from services.operator.replay.profiles import Outcome, Rebuild, Wish
from services.profiles.generations import Generations
from services.profiles.reader import ProfileReader
from tests.support.following import at_end, following, producing, profiles_in, put, put_events, settings_for
from tests.support.histories import BASE_MS, histories
from tests.unit.profiles.test_writes import FORGOTTEN, LIST, encoded, playlist

pytestmark = pytest.mark.connected


def some_events(seed: int, n: int) -> list[FeedbackEvent]:
    """Contradicting events of many users, with duplicates."""
    events = [event for history in histories(seed, n) for event in history.events]
    return events + events[::7]


async def fill(to: AIOKafkaProducer, seed: int = 21, n: int = 150) -> None:
    """Feedback, lists, playlists and a forgotten user."""
    await put_events(to, some_events(seed, n))
    for number in range(5):
        await put(to, PROFILES.name, f"l{number}", encoded({**LIST, "user_id": f"l{number}"}))
        one = playlist(0, BASE_MS + number, "ab").model_copy(
            update={"playlist_id": UUID(int=100 + number), "user_id": f"l{number}"}
        )
        await put(to, PLAYLISTS.name, one.user_id, one.log_value())
    await put(to, PROFILES.name, "l4", encoded({**FORGOTTEN, "user_id": "l4"}))


async def rebuild(settings: Settings, redis: Redis, **wish: Any) -> Outcome:
    """Run a rebuild in this process, its workers in theirs."""
    return await Rebuild(settings, redis, Wish(**{"nice": 0, **wish})).run()


async def test_a_rebuild_equals_the_live_generation_and_takes_its_place(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    settings = settings_for(log, valkey.url, tmp_path)
    async with producing(log) as to, following(settings, redis):
        await fill(to)
        await at_end(log, redis)
        before = await digest_of(redis, "g1")
        found = await rebuild(settings, redis)
        assert found.parity is not None
        assert found.parity.equal
        assert found.parity.digests() == (before, before)
        assert (found.generation, found.switched, found.taken_over) == ("g2", True, True)
        assert await Generations(redis).live() == "g2"
