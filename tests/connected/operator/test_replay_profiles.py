"""A rebuild of profiles beside the live ones: equal, switched once without a stale read, and rolled back."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.fold import song_field
from contracts.marks import MarkName
from contracts.placement import partition_of
from contracts.registers import LIKED, SERVED_SLICES
from contracts.topics import FEEDBACK, PLAYLISTS, PROFILES
from services.common.kafka import topic_ids
from services.common.settings import KafkaSettings, Settings
from services.local.processes.valkey import ValkeyNode
from services.operator.generations import former_generation, listed, prune
from services.operator.parity import Parity, compare, digest_of
from services.operator.replay.drilldown import explain
from services.operator.replay.lease import holder
from services.operator.replay.looking import estimate, one_user
from services.operator.replay.profiles import TOPICS, Outcome, Rebuild, RebuildOptions
from services.operator.replay.settling import settle
from services.profiles.generations import Generations
from services.profiles.keys import ShardKeys
from services.profiles.reader import ProfileReader
from services.profiles.store import ProfileStore
from services.rebuild.engine import Progress
from services.rebuild.planning import bound_of, planned
from tests.support.following import at_end, folded, following, producing, profiles_in, put, put_events, settings_for
from tests.support.histories import BASE_MS, histories
from tests.support.waiting import apoll
from tests.unit.profiles.test_writes import FORGOTTEN, LIST, encoded, playlist

pytestmark = pytest.mark.connected

# A wait for the mark of a generation that nobody writes any more would last for ever; a busy machine takes its time.
LONGEST_WAIT_MS = 5_000


def some_events(seed: int, n: int) -> list[FeedbackEvent]:
    """Contradicting events of many users, with duplicates."""
    events = [event for history in histories(seed, n) for event in history.events]
    return events + events[::7]


def like(user_id: str, song_id: str, at: int = 0) -> FeedbackEvent:
    """A like."""
    return FeedbackEvent(
        event_id=uuid4(), kind="liked", user_id=user_id, song_id=song_id, occurred_at=BASE_MS + at, received_at=BASE_MS
    )


async def fill(to: AIOKafkaProducer, events: list[FeedbackEvent]) -> None:
    """Feedback, five lists and playlists, one of whose owners is then forgotten."""
    await put_events(to, events)
    for number in range(5):
        user_id = f"l{number}"
        await put(to, PROFILES.name, user_id, encoded({**LIST, "user_id": user_id}))
        one = playlist(0, BASE_MS + number, "ab")
        one = one.model_copy(update={"playlist_id": UUID(int=100 + number), "user_id": user_id})
        await put(to, PLAYLISTS.name, user_id, one.log_value())
    await put(to, PROFILES.name, "l4", encoded({**FORGOTTEN, "user_id": "l4"}))


async def live(settings: Settings, redis: Redis, events: list[FeedbackEvent]) -> None:
    """Events in the log and in the live generation, whose consumer is stopped then."""
    async with producing(settings.kafka) as to, following(settings, redis):
        await put_events(to, events)
        await at_end(settings.kafka, redis)


async def rebuild(settings: Settings, redis: Redis, **options: Any) -> Outcome:
    """Run a rebuild in this process, its workers in theirs."""
    return await Rebuild(settings, redis, RebuildOptions(**{"nice": 0, "hand_over_seconds": 20.0, **options})).run()


@dataclass
class Asking:
    """A listener who likes a song and reads the profile right after, again and again."""

    events: list[FeedbackEvent] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    waited_ms: list[float] = field(default_factory=list)
    generations: list[str] = field(default_factory=list)


@asynccontextmanager
async def asking(log: KafkaSettings, redis: Redis, to: AIOKafkaProducer) -> AsyncIterator[Asking]:
    """Likes by one listener after the other, each followed by a read that must show it; stopped with the block."""
    found = Asking()
    topic_id = (await topic_ids(log.bootstrap_servers, [FEEDBACK.name]))[FEEDBACK.name]
    reader = ProfileReader(redis, cache_bytes=1 << 24)

    async def go() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            event = like(f"asking-{number % 50}", f"s{number}", number)
            placed = await put(to, FEEDBACK.name, event.user_id, event.log_value())
            found.events.append(event)
            name = MarkName(topic_id, placed.partition)
            snapshot, reached = await reader.read_at(event.user_id, name, placed.offset, LONGEST_WAIT_MS)
            if not reached.reached or event.song_id not in snapshot.songs:
                found.stale.append(f"{event.song_id}: {reached}, read in {snapshot.generation}")
            found.waited_ms.append(reached.waited_ms)
            found.generations.append(snapshot.generation)
            await asyncio.sleep(0.01)

    stop = asyncio.Event()
    task = asyncio.create_task(go())
    try:
        yield found
    finally:
        stop.set()
        await task


async def test_the_switch_and_the_way_back_lose_nothing_and_nobody_reads_an_old_profile(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    settings, events = settings_for(log, valkey.url, tmp_path), some_events(21, 150)
    async with producing(log) as to, following(settings, redis) as consumer:
        await fill(to, events)
        await at_end(log, redis)
        async with asking(log, redis, to) as asked:
            found = await rebuild(settings, redis)
            assert found.parity is not None and found.parity.equal
            assert (found.generation, found.switched, found.taken_over) == ("g2", True, True)
            assert (found.parity.forgotten, found.parity.histories) == (1, 4)
            assert await former_generation(redis) == "g1"
            back = await rebuild(settings, redis, generation="g1", existing=True, even_if_different=True)
            assert (back.generation, back.switched, back.taken_over) == ("g1", True, True)
        print(f"{len(asked.events)} likes, each read back: the longest wait was {max(asked.waited_ms):.0f} ms")
        assert asked.stale == []
        assert set(asked.generations) == {"g1", "g2"}
        assert consumer.metrics.value("animusic_consumer_dead_letters") == 0
        await at_end(log, redis)
        lists = {user_id: fields for user_id, fields in (await profiles_in(redis)).items() if user_id[0] != "l"}
        assert lists == folded([*events, *asked.events])
        assert [(one.name, one.live, one.former) for one in await listed(log, redis)] == [
            ("g1", True, False),
            ("g2", False, True),
        ]
        assert (await prune(redis, [], all_of_them=True)).keys() == {"g2"}
        assert await redis.keys("am:*:g2:*") == []


async def test_what_differs_is_named_with_its_events_and_is_not_switched_to(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    settings = settings_for(log, valkey.url, tmp_path)
    first = like("u", "song", 7)
    async with producing(log) as to, following(settings, redis):
        await fill(to, [*some_events(22, 40), first])
        await at_end(log, redis)
    keys = ShardKeys.of_user("g1", "u")
    held: bytes = await redis.hget(keys.user("u"), song_field("song"))
    at = SERVED_SLICES["liked"]
    wrong = held[: at.start] + LIKED.encode(BASE_MS + 9, bytes(16), False) + held[at.stop :]
    await redis.hset(keys.user("u"), song_field("song"), wrong)
    found = await rebuild(settings, redis)
    assert (found.switched, await Generations(redis).live()) == (False, "g1")
    assert found.parity is not None
    assert [(d.user_id, d.field, d.left, d.right) for d in found.parity.differences] == [
        ("u", song_field("song"), wrong, held)
    ]
    (explained,) = await explain(log, found.parity.differences)
    assert (explained.agrees, explained.registers) == ("right", ("liked",))
    assert {(cause.event_id, cause.sides) for cause in explained.causes if cause.register == "liked"} == {
        (str(first.event_id), "right")
    }
    one = await one_user(settings, redis, "u", await planned(log, TOPICS))
    assert [d.field for d in one.differences] == [song_field("song")]
    # The live one is known to be wrong: its successor is taken all the same.
    taken = await rebuild(settings, redis, generation="g2", even_if_different=True, hand_over_seconds=0.0)
    assert (taken.switched, taken.taken_over, await Generations(redis).live()) == (True, False, "g2")
    async with following(settings, redis):
        await at_end(log, redis)
        assert (await redis.hget(ShardKeys.of_user("g2", "u").user("u"), song_field("song"))) == held


async def test_a_part_of_the_log_is_built_beside_and_never_switched_to(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    settings = settings_for(log, valkey.url, tmp_path)
    events = [like("u", f"s{i}", i) for i in range(20)]
    partition = partition_of("u", settings.kafka.partitions)
    async with producing(log) as to:
        await put_events(to, events)
    since = bound_of(f"{FEEDBACK.name}/{partition}=5", "earliest")
    until = bound_of(f"{FEEDBACK.name}/{partition}=15", "latest")
    plan = await planned(log, TOPICS, since, until)
    assert plan.records == 10
    assert (await estimate(log, plan, 2)).seconds < 60
    found = await rebuild(settings, redis, since=since, until=until, keep=True)
    stored = await redis.hgetall(ShardKeys.of_user(found.generation, "u").user("u"))
    assert {name for name in stored if name[:1] == b"s"} == {song_field(f"s{i}") for i in range(5, 15)}
    with pytest.raises(ValueError, match="a part of the log only"):
        await rebuild(settings, redis, generation=found.generation, existing=True)
    with pytest.raises(LookupError, match="there is no generation g9"):
        await rebuild(settings, redis, generation="g9", existing=True)
    with pytest.raises(ValueError, match="is live"):
        await rebuild(settings, redis, generation="g1")
    assert await digest_of(redis, "g1") == "0" * 32


async def test_what_expired_is_told_and_what_only_it_said_is_named(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    settings = settings_for(log, valkey.url, tmp_path)
    async with producing(log) as to, following(settings, redis):
        await put_events(to, [like("u", f"s{i}", i) for i in range(20)])
        await at_end(log, redis)
    tp = TopicPartition(FEEDBACK.name, partition_of("u", settings.kafka.partitions))
    admin = AIOKafkaAdminClient(bootstrap_servers=log.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_records({tp: RecordsToDelete(before_offset=5)})
    finally:
        await admin.close()
    found = await rebuild(settings, redis)
    assert found.gaps == [f"{tp.topic}/{tp.partition}: offsets 0 to 4 are not in the log any more (expired or deleted)"]
    assert (await Generations(redis).known())["g2"].gaps == tuple(found.gaps)
    assert not found.switched
    assert found.parity is not None
    assert {d.field for d in found.parity.differences} == {song_field(f"s{i}") for i in range(5)}


async def test_an_interrupted_rebuild_gives_its_lease_back_and_goes_on(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    settings, events = settings_for(log, valkey.url, tmp_path), some_events(23, 200)
    await live(settings, redis, events)
    task = asyncio.create_task(rebuild(settings, redis, rate=500.0, batch=100))

    async def some() -> bool:
        return any(mark for marks in await ProfileStore(redis, "g2").marks() for mark in marks.values())

    await apoll(some, timeout=60, what="a part is written")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await holder(redis) is None
    assert (await Generations(redis).known())["g2"].state == "building"
    found = await rebuild(settings, redis, even_if_different=True, hand_over_seconds=0.0)
    assert (found.generation, found.went_on, found.switched) == ("g2", True, True)
    async with following(settings, redis):
        await at_end(log, redis, generation="g2")
    assert await profiles_in(redis, "g2") == folded(events)


async def test_a_cancel_is_heard_at_any_moment(log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path):
    """Also while a client of Kafka closes, which takes the first one for its own."""
    settings = settings_for(log, valkey.url, tmp_path)
    await live(settings, redis, [like("u", "s", 1)])
    for moment in range(8):
        task = asyncio.create_task(rebuild(settings, redis, hand_over_seconds=0.0, workers=1))
        await asyncio.sleep(0.04 * moment)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await holder(redis) is None


async def test_each_worker_is_a_process_that_ends_with_the_rebuild(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    settings, events = settings_for(log, valkey.url, tmp_path), some_events(24, 100)
    await live(settings, redis, events)
    before = set(psutil.Process().children())
    for workers in (1, 3):
        others: set[psutil.Process] = set()
        watch = partial(_note_children, others)
        options = RebuildOptions(workers=workers, nice=0, keep=True, new=True)
        found = await Rebuild(settings, redis, options, watch).run()
        assert len(others - before) == workers
        assert found.parity is not None and found.parity.equal and found.parity.users
        assert not set(psutil.Process().children()) - before


def _note_children(seen: set[psutil.Process], _progress: Progress) -> None:
    seen.update(psutil.Process().children())


async def test_who_does_not_come_to_rest_is_compared_with_what_lies_between_the_marks(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    settings = settings_for(log, valkey.url, tmp_path)
    partition = partition_of("u", settings.kafka.partitions)
    async with producing(log) as to, following(settings, redis):
        await put_events(to, [like("u", f"s{i}", i) for i in range(20)])
        for number in range(3):
            one = playlist(0, BASE_MS + number, "ab").model_copy(update={"playlist_id": UUID(int=200 + number)})
            await put(to, PLAYLISTS.name, "u", one.log_value())
        await at_end(log, redis)
    until = bound_of(f"{FEEDBACK.name}/{partition}=8,{PLAYLISTS.name}/{partition}=1", "latest")
    behind = (await rebuild(settings, redis, until=until, keep=True)).generation
    partitions = (await planned(log, TOPICS)).partitions
    starts = {p.field: p.begin for p in partitions}

    async def compared() -> Parity:
        parity = await compare(redis, "g1", behind, starts)
        assert parity.unsettled == ["h:u", "u:u"]
        await settle(log, redis, parity, partitions, {})
        return parity

    found = await compared()
    assert found.equal
    assert found.digests() == (await digest_of(redis, "g1"),) * 2
    # A wrong value that is higher than what the log says is not hidden by what is on its way.
    key, name = ShardKeys.of_user(behind, "u").user("u"), song_field("s3")
    held: bytes = await redis.hget(key, name)
    await redis.hset(key, name, b"\xff" + held[1:])
    await redis.hdel(key, song_field("s1"))
    found = await compared()
    assert {d.field for d in found.differences} == {name, song_field("s1")}
