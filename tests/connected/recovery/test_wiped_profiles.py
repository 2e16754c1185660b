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
from tests.connected.recommender.house import House, open_house, publish_songs, settings_for, switch_to
from tests.support.following import at_end, following
from tests.support.waiting import apoll
from tests.unit.recommender.worlds import publish_all

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
    async with open_house(settings) as house:
        mark = await house.feedback("u", "liked", IDS[3])
        async with following(settings, redis):
            await at_end(settings.kafka, redis)
            assert (await house.ask(not_before=mark))["cold"] is None
    await redis.flushall()
    yield settings


async def test_a_process_that_starts_beside_a_wiped_store_says_that_it_does_not_know(forgetful: Settings, redis: Redis):
    async with open_house(forgetful) as house:
        answer = await house.ask()
        assert (len(answer["slots"]), answer["fresh"], answer["stale"]) == (6, False, "behind")
        began = time.monotonic()
        async with following(forgetful, redis):
            seconds = await _personal_again(house, began)
    print(f"profiles of a wiped store personal again after {seconds:.1f} s")
    assert seconds < HEALTHY_SECONDS


async def _personal_again(house: House, began: float) -> float:
    async def personal() -> bool:
        answer = await house.ask()
        assert answer["fresh"] or answer["stale"] == "behind"
        assert answer["cold"] is None or not answer["fresh"], "a listener with a like is told to be new"
        return answer["fresh"] and answer["cold"] is None

    await apoll(personal, timeout=HEALTHY_SECONDS, interval=0.1, what="playlists are personal again")
    return time.monotonic() - began


async def test_a_newcomer_of_a_store_that_is_well_is_new(settings: Settings, redis: Redis):
    async with open_house(settings) as house, following(settings, redis):
        mark = await house.feedback("u", "liked", IDS[3])
        await at_end(settings.kafka, redis)
        answer = await house.ask(not_before=mark)
        assert (answer["fresh"], answer["cold"], answer["stale"]) == (True, None, None)
        new = await house.ask("somebody-new")
        assert (new["fresh"], new["cold"], new["stale"]) == (True, "mean", None)


async def test_a_consumer_that_stands_still_is_told(settings: Settings, redis: Redis):
    async with open_house(settings) as house:
        await house.feedback("u", "liked", IDS[3])

        async def told() -> bool:
            return (await house.ask())["stale"] == "behind"

        await apoll(told, timeout=20, interval=0.2, what="what is in no profile for seconds is told")
        future = {"topic_id": "0" * 32, "partition": 0, "offset": 5}
        assert (await house.ask("somebody-else", not_before=future))["stale"] in ("not_before", "behind")
