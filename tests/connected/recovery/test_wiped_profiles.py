"""The store of profiles is wiped: playlists still come and say so, and the profiles come back by themselves."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from collectors.synthetic import synthetic_songs
from services.common.settings import KafkaSettings, Settings
from services.local.processes.valkey import ValkeyNode
from tests.connected.recommender.running import (
    RunningRecommender,
    publish_songs,
    running_recommender,
    settings_for,
    switch_to,
)
from tests.support.following import at_end, following
from tests.support.waiting import apoll
from tests.unit.recommender.made_up import publish_all

pytestmark = pytest.mark.connected

SONGS = synthetic_songs(60)
IDS = [song.song_id for song in SONGS]
HEALTHY_SECONDS = 60.0


@pytest_asyncio.fixture
async def settings(log: KafkaSettings, valkey: ValkeyNode, redis: Redis, tmp_path: Path) -> Settings:
    """A log with a catalogue and models, and an empty store."""
    made = settings_for(log, valkey.url, tmp_path)
    await publish_songs(log, SONGS)
    await switch_to(log, *publish_all(made.vectors_dir, IDS))
    return made


@pytest_asyncio.fixture
async def forgetful(settings: Settings, redis: Redis) -> AsyncIterator[Settings]:
    """`u` likes a song, the store had it, and was wiped while its consumer was away."""
    async with running_recommender(settings) as recommender:
        mark = await recommender.feedback("u", "liked", IDS[3])
        async with following(settings, redis):
            await at_end(settings.kafka, redis)
            assert (await recommender.new_playlist(not_before=mark))["cold"] is None
    await redis.flushall()
    yield settings


async def test_a_process_that_starts_beside_a_wiped_store_says_that_it_does_not_know(forgetful: Settings, redis: Redis):
    async with running_recommender(forgetful) as recommender:
        answer = await recommender.new_playlist()
        assert (len(answer["slots"]), answer["fresh"], answer["stale"]) == (6, False, "behind")
        began = time.monotonic()
        async with following(forgetful, redis):
            seconds = await _personal_again(recommender, began)
    print(f"profiles of a wiped store personal again after {seconds:.1f} s")
    assert seconds < HEALTHY_SECONDS


async def _personal_again(recommender: RunningRecommender, began: float) -> float:
    async def personal() -> bool:
        answer = await recommender.new_playlist()
        assert answer["fresh"] or answer["stale"] == "behind"
        assert answer["cold"] is None or not answer["fresh"], "a listener with a like is told to be new"
        return answer["fresh"] and answer["cold"] is None

    await apoll(personal, timeout=HEALTHY_SECONDS, interval=0.1, what="playlists are personal again")
    return time.monotonic() - began


async def test_a_newcomer_of_a_store_that_is_well_is_new(settings: Settings, redis: Redis):
    async with running_recommender(settings) as recommender, following(settings, redis):
        mark = await recommender.feedback("u", "liked", IDS[3])
        await at_end(settings.kafka, redis)
        answer = await recommender.new_playlist(not_before=mark)
        assert (answer["fresh"], answer["cold"], answer["stale"]) == (True, None, None)
        new = await recommender.new_playlist("somebody-new")
        assert (new["fresh"], new["cold"], new["stale"]) == (True, "mean", None)


async def test_a_consumer_that_stands_still_is_told(settings: Settings, redis: Redis):
    async with running_recommender(settings) as recommender:
        await recommender.feedback("u", "liked", IDS[3])

        async def told() -> bool:
            return (await recommender.new_playlist())["stale"] == "behind"

        await apoll(told, timeout=20, interval=0.2, what="what is in no profile for seconds is told")
        future = {"topic_id": "0" * 32, "partition": 0, "offset": 5}
        assert (await recommender.new_playlist("somebody-else", not_before=future))["stale"] in ("not_before", "behind")
