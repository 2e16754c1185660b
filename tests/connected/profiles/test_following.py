"""Events through the real log into the real store: equal to the fold, byte for byte, whatever happens on the way."""

import asyncio
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.fold import LIST_FIELD
from contracts.marks import MarkName
from contracts.placement import partition_of
from contracts.topics import FEEDBACK, PLAYLISTS, PROFILES
from services.common.kafka import topic_ids
from services.common.kafka.consuming.consumer import Consumer
from services.common.redis import connect
from services.common.settings import KafkaSettings
from services.local.processes.valkey import ValkeyNode
from services.profiles.generations import Generations
from services.profiles.reader import ProfileReader
from services.profiles.sink import GRACE_SECONDS, LOOK_SECONDS
from services.profiles.store import MergeCall, ProfileStore
from services.profiles.writes import ShardWrites
from tests.support.following import (
    GENERATION,
    at_end,
    dead_letters,
    folded,
    following,
    producing,
    profiles_in,
    put,
    put_events,
    settings_for,
    user_keys,
)
from tests.support.histories import BASE_MS, histories
from tests.support.stores import valkey_node
from tests.support.waiting import apoll, poll
from tests.unit.profiles.test_writes import FORGOTTEN, LIST, encoded, playlist

pytestmark = [pytest.mark.connected, pytest.mark.usefixtures("watchful")]


def some_events(seed: int, n: int) -> list[FeedbackEvent]:
    """Contradicting events of many users, with duplicates."""
    events = [event for history in histories(seed, n) for event in history.events]
    return events + events[::7]


def like(user_id: str, song_id: str = "s", at: int = 0) -> FeedbackEvent:
    """A like."""
    return FeedbackEvent(
        event_id=uuid4(), kind="liked", user_id=user_id, song_id=song_id, occurred_at=BASE_MS + at, received_at=BASE_MS
    )


async def test_the_store_equals_the_fold(log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path):
    events = some_events(seed=11, n=150)
    async with producing(log) as to, following(settings_for(log, valkey.url, tmp_path, batch_records=500), redis):
        await put_events(to, events)
        await at_end(log, redis)
        assert await profiles_in(redis) == folded(events)
    assert await dead_letters(log) == []


async def test_an_emptied_store_is_rebuilt_by_itself(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    events = some_events(seed=12, n=60)
    async with producing(log) as to, following(settings_for(log, valkey.url, tmp_path), redis):
        await put_events(to, events)
        await at_end(log, redis)
        await redis.flushall()
        # Traffic in one partition: the others are found out by looking back.
        await put_events(to, [more := like("somebody")])
        await at_end(log, redis)
        assert await profiles_in(redis) == folded([*events, more])


async def test_a_mark_that_the_store_does_not_have_is_refused(redis: Redis):
    store = ProfileStore(redis, GENERATION)
    mark = f"{'a' * 32}/0"

    def call(after: int, upto: int) -> MergeCall:
        return MergeCall(3, mark, after, upto, ShardWrites())

    assert await store.merge([call(5, 9)]) == {(3, mark): None}
    assert await store.merge([call(0, 4)]) == {}
    assert await store.merge([call(5, 9)]) == {(3, mark): 4}
    assert await store.merge([call(4, 9), call(2, 3)]) == {}
    assert (await store.marks())[3] == {mark: 9}


async def test_poison_goes_to_the_dead_letters_and_nothing_else_does(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    good = [like("u", f"s{i}", i) for i in range(20)]
    async with producing(log) as to, following(settings_for(log, valkey.url, tmp_path), redis):
        await put_events(to, good[:10])
        placed = await put(to, FEEDBACK.name, "u", b'{"schema": 0}')
        await put(to, PROFILES.name, "u", None)
        await put_events(to, good[10:])
        await at_end(log, redis)
        assert await profiles_in(redis) == folded(good)
        in_dlq = {headers["topic"]: (value, headers) for value, headers in await dead_letters(log)}
    assert in_dlq.keys() == {FEEDBACK.name, PROFILES.name}
    value, headers = in_dlq[FEEDBACK.name]
    assert value == b'{"schema": 0}'
    assert headers["step"] == "profiles"
    assert headers["reason"].startswith("schema:")
    assert (headers["partition"], headers["offset"]) == (str(placed.partition), str(placed.offset))
    assert headers["time"] == str(placed.timestamp)
    assert in_dlq[PROFILES.name][0] is None


async def test_the_newest_anime_list_counts_and_a_forgotten_user_stays_forgotten(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    lists = [{**LIST, "entries": [{"mal_id": mal_id, "score": 7.5}]} for mal_id in (1, 2)]
    async with producing(log) as to, following(settings_for(log, valkey.url, tmp_path), redis):
        for entry in lists:
            await put(to, PROFILES.name, "u", encoded(entry))
        await put_events(to, [like("u")])
        await put(to, PLAYLISTS.name, "u", playlist(0, BASE_MS, "ab").log_value())
        await at_end(log, redis)
        reader = ProfileReader(redis, cache_bytes=1 << 20)
        snapshot = await reader.read("u")
        assert [(e.mal_id, e.score) for e in snapshot.anime_list] == [(2, 7.5)]
        assert [entry.songs for entry in snapshot.history] == [("a", "b")]
        await put(to, PROFILES.name, "u", encoded(FORGOTTEN))
        await at_end(log, redis)
        await put(to, PROFILES.name, "u", encoded(lists[0]))
        await put_events(to, [like("u", at=5)])
        await put(to, PLAYLISTS.name, "u", playlist(1, BASE_MS, "c").log_value())
        await at_end(log, redis)
        gone = await reader.read("u")
        assert (gone.songs, gone.anime_list, gone.history) == ({}, (), ())
        assert await reader.playlist("u", UUID(int=7)) is None
        assert await redis.keys("am:*:[uhp]:*") == []


async def test_playlists_are_resumed_and_the_history_keeps_the_newest_forty(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    served = [
        playlist(0, BASE_MS + i, "ab").model_copy(update={"playlist_id": UUID(int=100 + i)}) for i in range(45)
    ] + [playlist(1, BASE_MS + 99, "cd"), playlist(0, BASE_MS + 98, "ef")]
    async with producing(log) as to, following(settings_for(log, valkey.url, tmp_path), redis):
        for one in served:
            await put(to, PLAYLISTS.name, "u", one.log_value())
        await at_end(log, redis)
        reader = ProfileReader(redis, cache_bytes=1 << 20)
        history = (await reader.read("u")).history
        assert len(history) == 40
        assert (history[-1].playlist_id, history[-1].revision, history[-1].songs) == (str(UUID(int=7)), 1, ("c", "d"))
        assert history[0].served_at == BASE_MS + 6
        assert await reader.playlist("u", UUID(int=7)) == served[45]
        assert await reader.playlist("somebody-else", UUID(int=7)) is None
        assert await reader.playlist("u", UUID(int=100)) is None
        assert 0 < await redis.ttl(user_keys("u").playlist(str(UUID(int=7)))) <= 30 * 86_400


async def test_a_stopped_store_pauses_and_loses_nothing(log: KafkaSettings, tmp_path: Path):
    events = some_events(seed=13, n=60)
    half = len(events) // 2
    with valkey_node(tmp_path / "valkey") as node:
        settings = settings_for(log, node.url, tmp_path)
        redis = connect(settings.redis)
        async with producing(log) as to, following(settings, redis) as consumer:
            await put_events(to, events[:half])
            await at_end(log, redis)
            assert node.pid is not None
            os.kill(node.pid, signal.SIGSTOP)
            await put_events(to, events[half:])
            await more_retries(consumer, 0)
            os.kill(node.pid, signal.SIGCONT)
            await at_end(log, redis)
            node.kill()
            before = consumer.metrics.value("animusic_consumer_outage_retries")
            await put_events(to, [more := like("after-the-crash")])
            await more_retries(consumer, before)
            node.start()
            node.wait_ready()
            await at_end(log, redis)
            assert await profiles_in(redis) == folded([*events, more])
        await redis.aclose()
    assert await dead_letters(log) == []


async def more_retries(consumer: Consumer[Any], than: float) -> None:
    """Wait until the consumer has noticed that its store is away."""

    async def noticed() -> bool:
        return consumer.metrics.value("animusic_consumer_outage_retries") > than

    await apoll(noticed, what="the consumer noticed the outage")


def start_service(log: KafkaSettings, url: str, data_dir: Path, group: str) -> subprocess.Popen[bytes]:
    """The service as a process of its own."""
    environment = {
        **os.environ,
        "ANIMUSIC_DATA_DIR": str(data_dir),
        "ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": log.bootstrap_servers,
        "ANIMUSIC_REDIS__URL": url,
        "ANIMUSIC_PROFILES__GROUP": group,
        "ANIMUSIC_PROFILES__BATCH_RECORDS": "50",
    }
    return subprocess.Popen([sys.executable, "-m", "services.cli.main", "serve", "profiles"], env=environment)


async def test_killed_in_the_middle_and_started_again_it_equals_the_fold(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    events = some_events(seed=14, n=300)
    group = f"test.{uuid4().hex}"
    async with producing(log) as to:
        await put_events(to, events)
    service = start_service(log, valkey.url, tmp_path, group)
    try:
        await apoll(
            lambda: _some_but_not_all(redis, len(events)), timeout=60, interval=0.001, what="half a log is read"
        )
    finally:
        service.kill()
        service.wait()
    service = start_service(log, valkey.url, tmp_path, group)
    try:
        await at_end(log, redis)
        assert await profiles_in(redis) == folded(events)
    finally:
        service.terminate()
    assert poll(lambda: service.poll() is not None, what="it stops when asked to")
    assert service.returncode == 0


async def _some_but_not_all(redis: Redis, n: int) -> bool:
    marks = await ProfileStore(redis, GENERATION).marks()
    return 0 < sum(max(found.values(), default=0) for found in marks[:8]) < n


async def test_a_like_is_in_the_profile_soon(log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path):
    waits = []
    topic_id = (await topic_ids(log.bootstrap_servers, [FEEDBACK.name]))[FEEDBACK.name]
    async with producing(log) as to, following(settings_for(log, valkey.url, tmp_path), redis):
        reader = ProfileReader(redis, cache_bytes=1 << 20)
        for i in range(100):
            user_id = f"u{i}"
            began = time.perf_counter()
            placed = await put(to, FEEDBACK.name, user_id, like(user_id).log_value())
            reached = await reader.wait_for(user_id, MarkName(topic_id, placed.partition), placed.offset, 5_000)
            waits.append((time.perf_counter() - began) * 1e3)
            assert reached.reached
            assert (await reader.read(user_id)).songs.keys() == {"s"}
            await asyncio.sleep(0.007 * (i % 5))
        late = await reader.wait_for("u1", MarkName(topic_id, 0), 1 << 40, 20)
        assert not late.reached
        assert late.waited_ms >= 20
    p95 = statistics.quantiles(waits, n=20)[-1]
    print(f"like -> profile: p50 {statistics.median(waits):.1f} ms, p95 {p95:.1f} ms")
    assert LIST_FIELD not in (await profiles_in(redis))["u1"]


@pytest.fixture
def unwatchful(watchful: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is noticed but at a flush."""
    monkeypatch.setattr("services.common.kafka.consuming.consumer._WATCH_SECONDS", 60.0)


@pytest.mark.usefixtures("unwatchful")
async def test_a_consumer_follows_a_switched_generation_from_its_marks_in_every_partition(
    log: KafkaSettings,
    redis: Redis,
    valkey: ValkeyNode,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
):
    """Not from the start, which would take minutes without likes; nor only after the partition's next record."""
    first, second = like("here"), like("elsewhere")
    late = [like("here", at=1), like("here", at=2), like("elsewhere", at=3)]
    assert partition_of("here", 8) != partition_of("elsewhere", 8)
    async with producing(log) as to, following(settings_for(log, valkey.url, tmp_path), redis):
        await put_events(to, [first, second])
        await at_end(log, redis)
        await _copy(redis, GENERATION, "g2")
        # What comes now is in the former generation only.
        await put_events(to, [third := like("there")])
        await at_end(log, redis)
        assert await Generations(redis).switch(GENERATION, "g2") == "g2"
        await asyncio.sleep(LOOK_SECONDS)
        await put_events(to, late[:1])
        await at_end(log, redis)
        await asyncio.sleep(GRACE_SECONDS)
        for event in late[1:]:
            await put_events(to, [event])
            await at_end(log, redis, generation="g2", timeout=10)
    assert await profiles_in(redis, "g2") == folded([first, second, third, *late])
    for user_id in ("here", "elsewhere"):
        assert f"{FEEDBACK.name}/{partition_of(user_id, 8)} (emptied or restored?): reading again from 1" in caplog.text
    assert not re.search(rf"{FEEDBACK.name}/{partition_of('elsewhere', 8)} .* from None", caplog.text)


async def _copy(redis: Redis, generation: str, to: str) -> None:
    async for key in redis.scan_iter(match=f"am:*:{generation}:*"):
        await redis.copy(key, key.replace(f":{generation}:".encode(), f":{to}:".encode()))
