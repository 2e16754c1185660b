"""R8: how soon a like is in the profile, in the warehouse, and in the next playlist."""

import asyncio
import random
import time
from dataclasses import dataclass

import numpy as np
import orjson

from contracts.marks import MarkName
from services.common.process.clock import now_ms
from services.common.redis import connect
from services.common.settings import Settings
from services.profiles.reader import ProfileReader
from tests.bench.events import liked, post
from tests.bench.flow import Flowed, flowing
from tests.bench.http_load import Connection
from tests.bench.listeners import Listener, playlist_request
from tests.bench.machine import share_of
from tests.bench.marks import Sql, feedback_id
from tests.bench.report import Section, say
from tests.bench.stage import Stage

RATE = 500
LIKES, QUICK_LIKES = 500, 100
LIKE_EVERY_S = 0.03
LOOK_EVERY_S = 0.0005
HEARD = 30


@dataclass
class Like:
    """One like: when its post was sent (perf_counter), and what the gateway answered."""

    event_id: str
    listener: Listener
    song_id: str
    sent: float
    answered: float
    receipt: str
    partition: int
    offset: int


async def measure(stage: Stage) -> Section:
    """The section."""
    count = QUICK_LIKES if stage.quick else LIKES
    section = Section(
        "Fresh: from a like to its effects (R8)",
        f"{count} likes, one at a time, while {RATE} events/s of other listeners arrive. Times run from before the "
        f"post until the profile's mark has passed the like (polled every {LOOK_EVERY_S * 1000:g} ms), or until a "
        "SELECT in the warehouse returns it.",
    )
    system, songs = await stage.system(), await stage.songs()
    crowd = await stage.listeners(HEARD)
    settings = system.settings()
    # Half of the listeners like, the other half makes the noise.
    half = len(crowd) // 2
    async with flowing(system.port, RATE, crowd[half:]) as flowed:
        say("likes, seen in the profile")
        seen = await _to_profile(system.port, settings, crowd[:half], songs, count)
        say("likes, seen in the warehouse")
        waited = await _to_warehouse(system.port, settings, crowd[:half], songs, count)
        say("likes, and the next playlist")
        honoured, unheard, asked = await _receipts(system.port, await feedback_id(settings), crowd[:half], songs, count)
    _add_waits(section, seen, waited, flowed)
    section.add(
        "playlists that reflect the like's receipt",
        f"{honoured} of {count}",
        "R8: always",
        f"like and playlist together: p50 {np.quantile(asked, 0.5):.1f} ms, p95 {np.quantile(asked, 0.95):.1f} ms",
        kept=honoured == count,
    )
    section.add("… without the song just liked", f"{unheard} of {count}", "all", kept=unheard == count)
    return section


def _add_waits(section: Section, seen: list[tuple[float, float]], waited: list[float], flowed: Flowed) -> None:
    answered, reached = (np.array(column) for column in zip(*seen, strict=True))
    p95 = float(np.quantile(reached, 0.95))
    section.add("like → answer of the gateway", _quantiles(answered, 1, "ms"))
    section.add("like → profile", _quantiles(reached, 1, "ms"), "R8: p95 < 100 ms", kept=p95 < 100)
    late = float(np.quantile(waited, 0.95))
    section.add("like → ClickHouse", _quantiles(np.array(waited), 1e-3, "s"), "R8: p95 < 5 s", kept=late < 5_000)
    flow = f"{flowed.per_second:.0f} events/s, {flowed.refused} refused"
    section.add("other events", flow, "", f"generator {share_of(flowed.share)}")


def _quantiles(values: "np.ndarray[tuple[int], np.dtype[np.float64]]", factor: float, unit: str) -> str:
    p50, p95, most = (float(np.quantile(values, q)) * factor for q in (0.5, 0.95, 1.0))
    return (
        f"p50 {p50:.2g} {unit}, p95 {p95:.2g} {unit}, max {most:.2g} {unit}"
        if unit == "s"
        else (f"p50 {p50:.1f} {unit}, p95 {p95:.1f} {unit}, max {most:.1f} {unit}")
    )


async def _like(connection: Connection, rng: random.Random, listener: Listener, song_id: str) -> Like:
    event = liked(rng, song_id, now_ms())
    raw, sent = post(listener.token, [event]), time.perf_counter()
    status, body = await connection.ask(raw)
    answered = time.perf_counter()
    if status != 202:
        raise RuntimeError(f"a like was not taken: {status} {body[:300]!r}")
    answer = orjson.loads(body)
    log = answer["log"]
    return Like(
        event["event_id"], listener, song_id, sent, answered, answer["receipt"], log["partition"], log["last_offset"]
    )


async def _to_profile(
    port: int, settings: Settings, listeners: list[Listener], songs: list[str], count: int
) -> list[tuple[float, float]]:
    """(ms to the answer, ms to the profile) of each like."""
    rng, connection, topic_id = random.Random(1), Connection(port), await feedback_id(settings)
    redis = connect(settings.redis)
    reader, found = ProfileReader(redis, cache_bytes=1 << 26), []
    try:
        for _ in range(count):
            like = await _like(connection, rng, rng.choice(listeners), rng.choice(songs))
            name = MarkName(topic_id, like.partition).field()
            while (await reader.read(like.listener.user_id)).marks.get(name, 0) <= like.offset:
                await asyncio.sleep(LOOK_EVERY_S)
            found.append(((like.answered - like.sent) * 1e3, (time.perf_counter() - like.sent) * 1e3))
            await asyncio.sleep(LIKE_EVERY_S * rng.random())
    finally:
        connection.close()
        await redis.aclose()
    return found


async def _to_warehouse(
    port: int, settings: Settings, listeners: list[Listener], songs: list[str], count: int
) -> list[float]:
    """Milliseconds to the warehouse of each like; many are on their way at once."""
    rng, connection, sql = random.Random(2), Connection(port), Sql(settings)
    waiting: dict[str, float] = {}
    found: list[float] = []
    looking = asyncio.create_task(_look(sql, waiting, found, count))
    try:
        for _ in range(count):
            like = await _like(connection, rng, rng.choice(listeners), rng.choice(songs))
            waiting[like.event_id] = like.sent
            await asyncio.sleep(LIKE_EVERY_S)
            if looking.done():
                break
        await looking
    finally:
        looking.cancel()
        connection.close()
        sql.close()
    return found


async def _look(sql: Sql, waiting: dict[str, float], found: list[float], count: int) -> None:
    deadline = time.perf_counter() + 60 + count * LIKE_EVERY_S
    while len(found) < count:
        asked = list(waiting)
        if asked:
            ids = ", ".join(f"'{event_id}'" for event_id in asked)
            answer = await sql.ask(f"SELECT event_id FROM animusic.feedback WHERE event_id IN ({ids})")
            now = time.perf_counter()
            found += [(now - waiting.pop(event_id)) * 1e3 for event_id in set(answer.split())]
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{len(waiting)} likes are not in the warehouse after a minute")
        await asyncio.sleep(0.05)


async def _receipts(
    port: int, topic_id: str, listeners: list[Listener], songs: list[str], count: int
) -> tuple[int, int, list[float]]:
    """(playlists that reflect the like, playlists without the liked song, ms from the like to the playlist)."""
    rng, connection = random.Random(3), Connection(port)
    honoured = unheard = 0
    asked = []
    try:
        for _ in range(count):
            like = await _like(connection, rng, rng.choice(listeners), rng.choice(songs))
            status, body = await connection.ask(playlist_request(like.listener, like.receipt))
            if status != 201:
                raise RuntimeError(f"no playlist: {status} {body[:300]!r}")
            asked.append((time.perf_counter() - like.sent) * 1e3)
            answer = orjson.loads(body)
            mark = answer["reflects"].get(MarkName(topic_id, like.partition).field(), 0)
            honoured += bool(answer["fresh"] and mark > like.offset)
            unheard += like.song_id not in {slot["song_id"] for slot in answer["slots"]}
    finally:
        connection.close()
    return honoured, unheard, asked
