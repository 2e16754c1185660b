"""Reading profiles: one call, decoded once a version, from whichever generation is live."""

import statistics
import time
from random import Random
from uuid import UUID

import pytest
from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.fold import CHANGES_FIELD, fold, song_field, stored_fields, user_digest
from contracts.registers import LIKED, SETTLED, STARTED, WATCHED
from services.profiles.keys import LIVE, ShardKeys
from services.profiles.reader import ProfileReader, StoredProfile
from services.profiles.scripts import CHANGES_BYTES
from services.profiles.store import MergeCall, ProfileStore
from services.profiles.writes import Forget, by_shard
from tests.support.histories import BASE_MS, batches, histories
from tests.support.merging import MARK, merge_events, stored

pytestmark = pytest.mark.connected
HISTORY = next(h for h in histories(5, 50) if len(h.events) > 15 and len(h.users) == 1)
(USER,) = HISTORY.users


async def test_a_profile_is_what_was_folded(redis: Redis):
    await merge_events(redis, "g1", HISTORY.events)
    snapshot = await ProfileReader(redis, cache_bytes=1 << 24).read(USER)
    folded = fold(HISTORY.events)[USER]
    assert (snapshot.user_id, snapshot.generation, len(snapshot.version)) == (USER, "g1", 8)
    assert (snapshot.songs, snapshot.vetoes) == (folded.songs, folded.vetoes)
    assert snapshot.digest == user_digest(USER, stored_fields(folded))
    assert await stored(redis, "g1", USER) == stored_fields(folded)


async def test_an_unknown_user_has_an_empty_profile(redis: Redis):
    snapshot = await ProfileReader(redis, cache_bytes=1 << 24).read("stranger")
    assert (snapshot.songs, snapshot.vetoes, snapshot.anime_list) == ({}, {}, ())
    assert (snapshot.marks, snapshot.history, snapshot.version) == ({}, (), b"")
    assert snapshot.digest == user_digest("stranger", {})


async def test_what_did_not_change_is_the_same_object_and_merging_again_changes_nothing(redis: Redis):
    reader = ProfileReader(redis, cache_bytes=1 << 24)
    await merge_events(redis, "g1", HISTORY.events)
    first = await reader.read(USER)
    await merge_events(redis, "g1", HISTORY.events)
    await redis.hset(ShardKeys.of_user("g1", USER).marks, f"{'a' * 32}/3", 7)
    second = await reader.read(USER)
    assert second.state is first.state
    assert second.songs is first.songs
    assert second.marks[f"{'a' * 32}/3"] == 7


async def test_each_change_is_a_new_version_with_the_right_digest(redis: Redis):
    reader = ProfileReader(redis, cache_bytes=1 << 24)
    versions = set()
    for end in range(1, len(HISTORY.events) + 1):
        await merge_events(redis, "g1", HISTORY.events[end - 1 : end])
        snapshot = await reader.read(USER)
        versions.add(snapshot.version)
        folded = fold(HISTORY.events[:end])[USER]
        assert snapshot.digest == user_digest(USER, stored_fields(folded))
    assert len(versions) > 5


async def test_the_live_generation_is_read_and_a_switch_is_seen_at_once_on_demand(redis: Redis):
    reader = ProfileReader(redis, cache_bytes=1 << 24)
    await merge_events(redis, "g1", HISTORY.events)
    await merge_events(redis, "g2", HISTORY.events[:1])
    old = await reader.read(USER)
    await redis.set(LIVE, "g2")
    assert (await reader.read(USER)).generation == "g1"
    assert await reader.generation(now=True) == "g2"
    new = await reader.read(USER)
    assert (new.generation, len(new.songs) + len(new.vetoes)) == ("g2", 1)
    assert len(old.songs) + len(old.vetoes) > 1


async def test_scripts_are_loaded_again_after_the_server_lost_them(redis: Redis):
    reader = ProfileReader(redis, cache_bytes=0)
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
        reader = ProfileReader(redis, cache_bytes=1 << 24)
        await reader.read("somebody else")
        for times in (cold, warm):
            began = time.perf_counter()
            snapshot = await reader.read("u")
            times.append((time.perf_counter() - began) * 1e3)
    assert len(snapshot.songs) == 2_000
    print(f"2,000 songs: cold {statistics.median(cold):.2f} ms, unchanged {statistics.median(warm):.2f} ms")


# ---- only what changed is sent ------------------------------------------------------------------------------------


async def assert_as_fresh(reader: ProfileReader, redis: Redis, user_id: str = USER) -> StoredProfile:
    """What this reader reads is what one reads that knows nothing."""
    snapshot, fresh = await reader.read(user_id), await ProfileReader(redis, cache_bytes=0).read(user_id)
    assert snapshot.state.content == fresh.state.content
    assert (snapshot.version, snapshot.digest) == (fresh.version, fresh.digest)
    return snapshot


async def test_readers_that_read_now_and_then_all_see_the_same(redis: Redis):
    rng, readers = Random(2), [ProfileReader(redis, cache_bytes=1 << 24) for _ in range(4)]
    for batch in batches(HISTORY.events * 3, 1) + [[event] for event in HISTORY.events]:
        await merge_events(redis, "g1", batch)
        for reader in rng.sample(readers, rng.randint(0, 4)):
            await assert_as_fresh(reader, redis)
    for reader in readers:
        await assert_as_fresh(reader, redis)


def started(song: str, at: int) -> FeedbackEvent:
    return FeedbackEvent.model_validate(
        {
            "event_id": UUID(int=at),
            "kind": "started",
            "user_id": USER,
            "occurred_at": BASE_MS + at,
            "received_at": BASE_MS + at,
            "song_id": song,
            "attribution": "none",
        }
    )


async def test_a_song_that_did_not_change_is_not_sent_again(redis: Redis):
    reader = ProfileReader(redis, cache_bytes=1 << 24)
    await merge_events(redis, "g1", [started("a", 1), started("b", 2)])
    first = await reader.read(USER)
    await merge_events(redis, "g1", [started("b", 3)])
    second = await assert_as_fresh(reader, redis)
    assert second.songs["a"] is first.songs["a"]
    assert second.moved_since(first.state) == {"b"}
    assert second.moved_since(second.state) is None
    assert first.moved_since(second.state) is None
    assert second.songs["b"] != first.songs["b"]


async def test_the_list_of_changes_stays_short_and_a_reader_too_far_behind_gets_everything(redis: Redis):
    behind, near = ProfileReader(redis, cache_bytes=1 << 24), ProfileReader(redis, cache_bytes=1 << 24)
    await merge_events(redis, "g1", [started("a", 1)])
    far = await behind.read(USER)
    for at in range(2, 120):
        await merge_events(redis, "g1", [started(f"song-{at % 50}", at)])
        if at % 15 == 0:
            close = await assert_as_fresh(near, redis)
    key = ShardKeys.of_user("g1", USER).user(USER)
    assert CHANGES_BYTES // 2 < await redis.hstrlen(key, CHANGES_FIELD.decode()) <= CHANGES_BYTES
    assert (await assert_as_fresh(behind, redis)).songs["a"] is not far.songs["a"]
    assert (await assert_as_fresh(near, redis)).songs["a"] is close.songs["a"]
    await merge_events(redis, "g1", [started(f"song-{at}", at) for at in range(200, 1_400)])
    assert await redis.hstrlen(key, CHANGES_FIELD.decode()) == 10
    await assert_as_fresh(near, redis)


async def test_a_store_that_was_emptied_and_refilled_is_read_in_full(redis: Redis):
    reader, (first, *_) = ProfileReader(redis, cache_bytes=1 << 24), HISTORY.events
    await merge_events(redis, "g1", HISTORY.events)
    await reader.read(USER)
    await redis.flushall()
    assert (await assert_as_fresh(reader, redis)).songs == {}
    await merge_events(redis, "g1", HISTORY.events)
    await reader.read(USER)
    await redis.flushall()
    await merge_events(redis, "g1", [first])
    await assert_as_fresh(reader, redis)


async def test_a_writer_that_keeps_no_list_of_changes_hides_nothing(redis: Redis):
    reader, key = ProfileReader(redis, cache_bytes=1 << 24), ShardKeys.of_user("g1", USER).user(USER)
    await merge_events(redis, "g1", [started("a", 1)])
    await merge_events(redis, "g1", [started("b", 2)])
    value = (await reader.read(USER)).songs["b"]
    await redis.hset(key, mapping={b"sc": value, b"#": b"12345678"})
    assert (await assert_as_fresh(reader, redis)).songs.keys() == {"a", "b", "c"}
    await redis.hset(key, mapping={b"sd": value, b"#": b"23456789"})
    await merge_events(redis, "g1", [started("e", 3)])
    assert (await assert_as_fresh(reader, redis)).songs.keys() == {"a", "b", "c", "d", "e"}


async def test_a_forgotten_user_is_gone_for_a_reader_that_knew_them(redis: Redis):
    reader = ProfileReader(redis, cache_bytes=1 << 24)
    await merge_events(redis, "g1", HISTORY.events)
    assert (await reader.read(USER)).songs
    calls = [MergeCall(shard, MARK, 0, 0, writes) for shard, writes in by_shard([Forget(USER)]).items()]
    await ProfileStore(redis, "g1").merge(calls)
    await merge_events(redis, "g1", HISTORY.events)
    snapshot = await assert_as_fresh(reader, redis)
    assert (snapshot.songs, snapshot.vetoes, snapshot.version) == ({}, {}, b"")
