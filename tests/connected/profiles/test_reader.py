"""Reading profiles: one call, decoded once a version, from whichever generation is live."""

import statistics
import time
from random import Random

import pytest
from redis.asyncio import Redis

from contracts.fold import fold, song_field, stored_fields, user_digest
from contracts.registers import LIKED, SETTLED, STARTED, WATCHED
from services.profiles.keys import LIVE, ShardKeys
from services.profiles.reader import ProfileReader
from tests.support.histories import BASE_MS, histories
from tests.support.merging import merge_events, stored

pytestmark = pytest.mark.connected
HISTORY = next(h for h in histories(5, 50) if len(h.events) > 15 and len(h.users) == 1)
(USER,) = HISTORY.users


async def test_a_profile_is_what_was_folded(redis: Redis):
    await merge_events(redis, "g1", HISTORY.events)
    snapshot = await ProfileReader(redis, cached=10).read(USER)
    folded = fold(HISTORY.events)[USER]
    assert (snapshot.user_id, snapshot.generation, len(snapshot.version)) == (USER, "g1", 8)
    assert (snapshot.songs, snapshot.vetoes) == (folded.songs, folded.vetoes)
    assert snapshot.digest == user_digest(USER, stored_fields(folded))
    assert await stored(redis, "g1", USER) == stored_fields(folded)


async def test_nothing_is_known_of_a_stranger(redis: Redis):
    snapshot = await ProfileReader(redis, cached=10).read("stranger")
    assert (snapshot.songs, snapshot.vetoes, snapshot.anime_list) == ({}, {}, ())
    assert (snapshot.marks, snapshot.history, snapshot.version) == ({}, (), b"")
    assert snapshot.digest == user_digest("stranger", {})


async def test_what_did_not_change_is_the_same_object_and_merging_again_changes_nothing(redis: Redis):
    reader = ProfileReader(redis, cached=10)
    await merge_events(redis, "g1", HISTORY.events)
    first = await reader.read(USER)
    await merge_events(redis, "g1", HISTORY.events)
    await redis.hset(ShardKeys.of_user("g1", USER).marks, f"{'a' * 32}/3", 7)
    second = await reader.read(USER)
    assert second.state is first.state
    assert second.songs is first.songs
    assert second.marks[f"{'a' * 32}/3"] == 7


async def test_each_change_is_a_new_version_with_the_right_digest(redis: Redis):
    reader = ProfileReader(redis, cached=10)
    versions = set()
    for end in range(1, len(HISTORY.events) + 1):
        await merge_events(redis, "g1", HISTORY.events[end - 1 : end])
        snapshot = await reader.read(USER)
        versions.add(snapshot.version)
        folded = fold(HISTORY.events[:end])[USER]
        assert snapshot.digest == user_digest(USER, stored_fields(folded))
    assert len(versions) > 5


async def test_the_live_generation_is_read_and_a_switch_is_seen_at_once_on_demand(redis: Redis):
    reader = ProfileReader(redis, cached=10)
    await merge_events(redis, "g1", HISTORY.events)
    await merge_events(redis, "g2", HISTORY.events[:1])
    old = await reader.read(USER)
    await redis.set(LIVE, "g2")
    assert (await reader.read(USER)).generation == "g1"
    assert await reader.generation(now=True) == "g2"
    new = await reader.read(USER)
    assert (new.generation, len(new.songs) + len(new.vetoes)) == ("g2", 1)
    assert len(old.songs) + len(old.vetoes) > 1


async def test_a_server_that_forgot_the_scripts_is_taught_again(redis: Redis):
    reader = ProfileReader(redis, cached=0)
    await merge_events(redis, "g1", HISTORY.events)
    await reader.read(USER)
    await redis.script_flush()
    assert (await reader.read(USER)).songs


async def test_two_thousand_songs_are_read_fast(redis: Redis):
    rng = Random(1)
    fields = {
        song_field(f"anidb-{i}"): b"".join(
            (
                WATCHED.encode(rng.randint(0, 1_000_000), 5, 9),
                LIKED.encode(BASE_MS + i, rng.randbytes(16), 1),
                STARTED.encode(BASE_MS + i, rng.randbytes(16)),
                SETTLED.encode(BASE_MS + i, rng.randbytes(16)),
            )
        )
        for i in range(2_000)
    }
    await redis.hset(ShardKeys.of_user("g1", "u").user("u"), mapping={**fields, b"#": b"12345678"})
    cold, warm = [], []
    for _ in range(20):
        reader = ProfileReader(redis, cached=10)
        await reader.read("somebody else")
        for times in (cold, warm):
            began = time.perf_counter()
            snapshot = await reader.read("u")
            times.append((time.perf_counter() - began) * 1e3)
    assert len(snapshot.songs) == 2_000
    print(f"2,000 songs: cold {statistics.median(cold):.2f} ms, unchanged {statistics.median(warm):.2f} ms")
