"""Deliberate faults in Redis and in ClickHouse: a verification finds exactly those, while events go on arriving."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from collectors.synthetic import synthetic_songs
from contracts.catalogue import WithdrawnSong
from contracts.events import FeedbackEvent
from contracts.fold import fold, song_field
from contracts.placement import partition_of
from contracts.profiles import Forgotten
from contracts.registers import LIKED, SERVED_SLICES
from contracts.topics import CATALOGUE, FEEDBACK, PROFILES
from services.common.settings import ClickhouseSettings, KafkaSettings, Settings
from services.local.processes.valkey import ValkeyNode
from services.operator.verify.checking import verify
from services.operator.verify.model import CannotCompare, Report, Sample
from tests.connected.warehouse.test_service import ROOT, Process
from tests.support.following import at_end, following, producing, put, put_events, settings_for, user_keys
from tests.support.histories import histories
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected

EVENTS = [event for history in histories(31, 60) for event in history.events]
FOLDED = fold(EVENTS)
ALL = Sample(1.0)


@pytest_asyncio.fixture
async def settings(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, warehouse: Process, tmp_path: Path
) -> AsyncIterator[Settings]:
    """Both stores, following a log with events, one forgotten user and one record that nobody can read."""
    made = settings_for(log, valkey.url, tmp_path)
    made.clickhouse = ClickhouseSettings(dsn=f"http://127.0.0.1:{warehouse.port}/animusic")
    async with producing(log) as to:
        await put_events(to, EVENTS)
        await put(to, FEEDBACK.name, "poison", b"{")
        forgotten = Forgotten(kind="forgotten", user_id=EVENTS[0].user_id, received_at=EVENTS[0].received_at)
        await put(to, PROFILES.name, forgotten.user_id, forgotten.model_dump_json(by_alias=True).encode())
    warehouse.start()
    async with following(made, redis):
        await at_end(log, redis)
        await warehouse.ready()
        yield made


async def _verified(settings: Settings, sample: Sample = ALL) -> Report:
    return await verify(settings, sample)


def _with_likes() -> tuple[str, str]:
    """A user who is not forgotten, and a song that they liked."""
    for user, folded in sorted(FOLDED.items()):
        for song, packed in sorted(folded.songs.items()):
            if packed[SERVED_SLICES["liked"]] != LIKED.identity and user != EVENTS[0].user_id:
                return user, song
    raise AssertionError("no like among the events")


async def test_equal_while_events_arrive(log: KafkaSettings, settings: Settings) -> None:
    more = [event for history in histories(32, 60) for event in history.events]
    more += [event.model_copy(update={"user_id": EVENTS[5].user_id}) for event in more[:100]]

    async def arrive() -> None:
        async with producing(log) as to:
            for start in range(0, len(more), 10):
                await put_events(to, more[start : start + 10])

    arriving = asyncio.create_task(arrive())
    report = await _verified(settings)
    await arriving
    assert report.faults == []
    assert report.code == 0
    assert report.dead_letters == 1
    assert report.users >= len(FOLDED)
    # One in a hundred of these would be nobody.
    few = await _verified(settings, Sample(0.001))
    assert few.users == min(few.listeners, 100) if few.listeners <= 100 else few.users > 50
    assert (await _verified(settings, Sample(0.01, frozenset({"nobody"})))).code == 3
    assert (await _verified(settings)).rows == len(EVENTS) + len(more)


async def test_faults_in_redis_are_named_exactly(redis: Redis, settings: Settings) -> None:
    user, song = _with_likes()
    key, field = user_keys(user).user(user), song_field(song)
    packed = FOLDED[user].songs[song]
    at = SERVED_SLICES["liked"]
    # One field changed: a like that nobody gave.
    wrong = packed[: at.stop - 1] + bytes([1 - packed[at.stop - 1]]) + packed[at.stop :]
    await redis.hset(key, field, wrong)
    # One user missing, one extra.
    missing = next(u for u in sorted(FOLDED) if u not in (user, EVENTS[0].user_id) and FOLDED[u].songs)
    await redis.delete(user_keys(missing).user(missing))
    await redis.hset(user_keys("nobody").user("nobody"), field, packed)
    # And one who asked to be forgotten is still there.
    gone = EVENTS[0].user_id
    await redis.hset(user_keys(gone).user(gone), field, packed)
    report = await _verified(settings)
    assert report.code == 1
    found = {(fault.store, fault.kind, fault.user) for fault in report.faults}
    assert found == {
        ("redis", "register differs", user), ("redis", "user missing", missing), ("redis", "extra user", "nobody"),
        ("redis", "forgotten user still there", gone),
    }  # fmt: skip
    assert len(report.faults) == 4
    fault = next(fault for fault in report.faults if fault.kind == "register differs")
    assert fault.field == f"song {song}: liked"
    value = packed[at.stop - 1]
    assert (fault.log.endswith(f"value {value}"), fault.store_holds.endswith(f"value {1 - value}")) == (True, True)
    assert fault.places
    assert all(place.startswith(f"{FEEDBACK.name}/{partition_of(user, 8)}@") for place in fault.places)
    # Only this user, only this fault.
    assert [f.kind for f in (await _verified(settings, Sample(1.0, frozenset({user})))).faults] == ["register differs"]
    assert (await _verified(settings, Sample(1.0, frozenset({EVENTS[-1].user_id})))).code == 0


async def test_faults_in_clickhouse_are_named_exactly(settings: Settings, warehouse: Process, redis: Redis) -> None:
    await apoll(lambda: warehouse.marked(FEEDBACK.name, len(EVENTS) + 1), timeout=30, what="ClickHouse is at the end")
    gone, doubled, copied = EVENTS[3], EVENTS[7], EVENTS[9]
    user, song = _with_likes()
    lost, changed = _not_ended({user, gone.user_id, doubled.user_id, EVENTS[0].user_id})
    assert warehouse.end(signal.SIGTERM) == 0
    columns = "* REPLACE (received_ms + 1 AS received_ms)"
    _tamper(
        Path(warehouse.environment["ANIMUSIC_DATA_DIR"]),
        f"DELETE FROM animusic.feedback WHERE {_is(gone)}",
        f"INSERT INTO animusic.feedback SELECT {columns} FROM animusic.feedback WHERE {_is(doubled)} LIMIT 1",
        # An exact copy is no fault: merges and views take it for one.
        f"INSERT INTO animusic.feedback SELECT * FROM animusic.feedback WHERE {_is(copied)}",
        f"DELETE FROM animusic.registers WHERE user_id = '{user}' AND song_id = '{song}'",
        f"DELETE FROM animusic.slot_outcomes WHERE {_of_slot(lost)}",
        "INSERT INTO animusic.slot_outcomes SELECT * REPLACE (1 AS ended) FROM animusic.slot_outcomes FINAL "
        f"WHERE {_of_slot(changed)}",
    )
    warehouse.start()
    await warehouse.ready()
    report = await _verified(settings)
    rows = {(f.kind, f.user, f.field) for f in report.faults if "row" in f.kind}
    missing = {("row missing", e.user_id, f"event {e.event_id}") for e in EVENTS if _same(e, gone)}
    assert rows == missing | {("row doubled", doubled.user_id, f"event {doubled.event_id}")}
    registers = [fault for fault in report.faults if fault.kind == "register differs"]
    assert registers
    assert {(f.store, f.user, f.store_holds) for f in registers} == {("clickhouse", user, "nothing")}
    assert all(f.field.startswith(f"song {song}: ") and f.places for f in registers)
    outcomes = {fault.user: fault for fault in report.faults if fault.kind == "outcome differs"}
    assert outcomes.keys() == {lost.user_id, changed.user_id}
    assert (outcomes[lost.user_id].store_holds, "nothing" in outcomes[lost.user_id].log) == ("nothing", False)
    assert outcomes[changed.user_id].field == (
        f"playlist {changed.playlist_id} slot {changed.slot}: {changed.song_id} by {changed.arm} (slot)"
    )
    assert ("ended" in outcomes[changed.user_id].log, "ended" in outcomes[changed.user_id].store_holds) == (False, True)
    assert len(report.faults) == len(registers) + len(outcomes) + sum(_same(e, gone) for e in EVENTS) + 1
    assert warehouse.end(signal.SIGKILL) == -signal.SIGKILL
    with pytest.raises((CannotCompare, httpx.TransportError)):
        await verify(settings, ALL, seconds=0.2)


async def test_a_served_song_that_clickhouse_lacks_or_has_otherwise_is_a_difference(
    log: KafkaSettings, settings: Settings, warehouse: Process
) -> None:
    songs = {song.song_id: song for song in synthetic_songs(50)}
    first, second, third, *_ = sorted(songs)
    async with producing(log) as to:
        for song in songs.values():
            await to.send_and_wait(CATALOGUE.name, song.log_value(), key=song.song_id.encode())
        gone = WithdrawnSong(song_id=third, withdrawn=True).model_dump_json(by_alias=True).encode()
        await to.send_and_wait(CATALOGUE.name, gone, key=third.encode())
    report = await _verified(settings)
    assert (report.code, report.songs) == (0, 49)
    await apoll(lambda: warehouse.marked(CATALOGUE.name, 51), timeout=30, what="ClickHouse is at the end")
    assert warehouse.end(signal.SIGTERM) == 0
    _tamper(
        Path(warehouse.environment["ANIMUSIC_DATA_DIR"]),
        f"DELETE FROM animusic.catalogue WHERE song_id = '{first}' OR song_id = '{third}' AND withdrawn",
        f"INSERT INTO animusic.catalogue SELECT * REPLACE ('Other' AS title, `offset` + 1000 AS `offset`) "
        f"FROM animusic.catalogue WHERE song_id = '{second}'",
    )
    warehouse.start()
    await warehouse.ready()
    report = await _verified(settings)
    found = {(fault.kind, fault.field): fault for fault in report.faults}
    assert found.keys() == {
        ("song missing", f"song {first}"), ("song differs", f"song {second}"), ("song differs", f"song {third}"),
    }  # fmt: skip
    assert report.code == 1
    differs = found["song differs", f"song {second}"]
    assert (differs.log, differs.store_holds) == (f"title {songs[second].title}", "title Other")
    assert all(fault.places[0].startswith(f"{CATALOGUE.name}/0@") for fault in report.faults)


def _is(event: FeedbackEvent) -> str:
    return f"user_id = '{event.user_id}' AND event_id = '{event.event_id}'"


def _of_slot(event: FeedbackEvent) -> str:
    return (
        f"user_id = '{event.user_id}' AND playlist_id = '{event.playlist_id}' AND slot = {event.slot} "
        f"AND song_id = '{event.song_id}' AND arm = '{event.arm}' AND attribution = 'slot'"
    )


def _not_ended(others: set[str]) -> list[FeedbackEvent]:
    """An event in a served slot whose song never ended there, of each of two users besides some."""
    found = {}
    for event in EVENTS:
        ended = any(_of_slot(other) == _of_slot(event) for other in EVENTS if other.kind == "ended")
        if event.attribution == "slot" and event.song_id and event.user_id not in others and not ended:
            found.setdefault(event.user_id, event)
    return list(found.values())[:2]


def _same(one: FeedbackEvent, other: FeedbackEvent) -> bool:
    return (one.user_id, one.event_id) == (other.user_id, other.event_id)


def _tamper(data_dir: Path, *statements: str) -> None:
    """In a process of its own: the engine of this one has another directory."""
    script = (
        "import sys; from pathlib import Path; from services.common.clickhouse import ChdbEngine; "
        "c = ChdbEngine(Path(sys.argv[1]), 500).connect(); [c.command(s) for s in sys.argv[2:]]; c.close()"
    )
    subprocess.run([sys.executable, "-c", script, str(data_dir / "clickhouse"), *statements], check=True, cwd=ROOT)
