"""Faults in anime lists and in histories of playlists: a verification finds exactly those, while more are written."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from contracts.fold import LIST_FIELD
from contracts.playlists import ServedPlaylist
from contracts.profiles import AnimeEntry, AnimeList, Forgotten
from contracts.topics import PLAYLISTS, PROFILES
from services.common.settings import ClickhouseSettings, KafkaSettings, Settings
from services.local.processes.valkey import ValkeyNode
from services.operator.verify.checking import verify
from services.operator.verify.model import Fault, Sample
from services.profiles.writes import HISTORY_LISTS
from tests.connected.warehouse.test_service import EXAMPLES, Process
from tests.support.following import at_end, following, producing, put, settings_for, user_keys
from tests.support.histories import BASE_MS

pytestmark = pytest.mark.connected

USERS = [f"keeper-{number}" for number in range(6)]
GONE = "keeper-gone"
PLAYLIST = ServedPlaylist.model_validate_json(sorted((EXAMPLES / PLAYLISTS.name).glob("*.good.json"))[0].read_bytes())


def playlist(user: str, number: int, revision: int = 0) -> bytes:
    """The example as served to somebody; every number is another playlist."""
    body = json.loads(PLAYLIST.log_value())
    body |= {
        "user_id": user, "playlist_id": f"00000000-0000-4000-8000-{number:012d}", "revision": revision,
        "served_at": BASE_MS + 1_000 * number + revision,
    }  # fmt: skip
    return json.dumps(body).encode()


def anime_list(user: str, mal_id: int) -> bytes:
    entries = (AnimeEntry(mal_id=mal_id, status="completed", score=8),)
    told = AnimeList(kind="anime_list", user_id=user, received_at=BASE_MS, entries=entries)
    return told.model_dump_json(by_alias=True).encode()


@pytest_asyncio.fixture
async def settings(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, warehouse: Process, tmp_path: Path
) -> AsyncIterator[Settings]:
    """Both stores, following a log with lists and playlists; one listener has more playlists than are kept."""
    made = settings_for(log, valkey.url, tmp_path)
    made.clickhouse = ClickhouseSettings(dsn=f"http://127.0.0.1:{warehouse.port}/animusic")
    warehouse.start()
    async with producing(log) as to:
        for number, user in enumerate([*USERS, GONE]):
            await put(to, PROFILES.name, user, anime_list(user, 1))
            await put(to, PROFILES.name, user, anime_list(user, 100 + number))
            await put(to, PLAYLISTS.name, user, playlist(user, number))
            await put(to, PLAYLISTS.name, user, playlist(user, number, revision=1))
        for number in range(HISTORY_LISTS + 5):
            await put(to, PLAYLISTS.name, USERS[0], playlist(USERS[0], 1_000 + number))
        forgotten = Forgotten(kind="forgotten", user_id=GONE, received_at=BASE_MS)
        await put(to, PROFILES.name, GONE, forgotten.model_dump_json(by_alias=True).encode())
    async with following(made, redis):
        await at_end(log, redis)
        await warehouse.ready()
        yield made


async def _faults(settings: Settings) -> list[Fault]:
    report = await verify(settings, Sample(1.0))
    assert not report.unsettled
    return report.faults


async def test_equal_while_lists_and_playlists_arrive(log: KafkaSettings, settings: Settings) -> None:
    async def arrive() -> None:
        async with producing(log) as to:
            for number in range(150):
                user = USERS[number % len(USERS)]
                await put(to, PROFILES.name, user, anime_list(user, 500 + number))
                await put(to, PLAYLISTS.name, user, playlist(user, 2_000 + number))

    arriving = asyncio.create_task(arrive())
    report = await verify(settings, Sample(1.0))
    # Who writes without a pause may be told as such on a slow machine, but not as a fault.
    assert (report.faults, set(report.unsettled) <= set(USERS)) == ([], True)
    await arriving
    assert await _faults(settings) == []


async def test_a_fault_in_each_is_found_and_nothing_else(redis: Redis, settings: Settings) -> None:
    changed, lost, line, dropped, added = USERS[1:]
    stored = await redis.hget(user_keys(changed).user(changed), LIST_FIELD)
    await redis.hset(user_keys(changed).user(changed), LIST_FIELD, stored.replace(b'"score":8', b'"score":1'))
    await redis.hdel(user_keys(lost).user(lost), LIST_FIELD)
    (mine,) = [name for name in await redis.hkeys(user_keys(line).history(line)) if name != b"#"]
    entry = await redis.hget(user_keys(line).history(line), mine)
    await redis.hset(user_keys(line).history(line), mine, entry[:8] + b"\0\7" + entry[10:])
    await redis.delete(user_keys(dropped).history(dropped))
    await redis.hset(user_keys(added).history(added), "another", entry)
    await redis.hset(user_keys("nobody").user("nobody"), LIST_FIELD, stored)
    await redis.hset(user_keys(GONE).history(GONE), "another", entry)
    found = {(fault.store, fault.kind, fault.user): fault for fault in await _faults(settings)}
    lists, lines = "anime list differs", "history differs"
    assert found.keys() == {
        ("redis", lists, changed), ("redis", lists, lost), ("redis", lists, "nobody"), ("redis", lines, line),
        ("redis", lines, dropped), ("redis", lines, added), ("redis", lines, GONE),
    }  # fmt: skip
    fault = found["redis", lists, changed]
    assert ('"score":8' in fault.log, '"score":1' in fault.store_holds) == (True, True)
    assert [place.rpartition("@")[0].rpartition("/")[0] for place in fault.places] == [PROFILES.name]
    fault = found["redis", lines, line]
    assert ("revision 1: " in fault.log, "revision 7: " in fault.store_holds) == (True, True)
    assert fault.field == f"playlist {mine.decode()}"
    assert found["redis", lists, "nobody"].log == found["redis", lists, lost].store_holds == "nothing"
