"""Events as a client posts them: what the listening of a song looks like on the wire."""

import random
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from services.common.process.clock import now_ms
from tests.bench.http_load import request

Event = dict[str, Any]
DURATION_S = 90.0


def event_id(rng: random.Random) -> str:
    """A random UUID; cheaper than uuid4, which asks the kernel each time."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def started(rng: random.Random, song_id: str, at: int) -> Event:
    """A song begins to play."""
    return {"event_id": event_id(rng), "kind": "started", "occurred_at": at, "song_id": song_id}


def progress(rng: random.Random, song_id: str, at: int, ratio: float) -> Event:
    """How far a song was watched, `ratio` in [0, 1]."""
    watched = {"watch_seconds": round(DURATION_S * ratio, 3), "duration_seconds": DURATION_S}
    return {"event_id": event_id(rng), "kind": "progress", "occurred_at": at, "song_id": song_id, **watched}


def liked(rng: random.Random, song_id: str, at: int) -> Event:
    """A like."""
    return {"event_id": event_id(rng), "kind": "liked", "occurred_at": at, "song_id": song_id}


def listening(rng: random.Random, song_id: str, at: int) -> list[Event]:
    """One song heard: it starts, it is watched to some point, and it ends or is skipped; one in five is liked.

    Three songs in five are watched for more than half, so that most anime stay in favour, as they do for people.
    """
    ratio = rng.uniform(0.55, 1.0) if rng.random() < 0.6 else rng.uniform(0.02, 0.45)
    end: Event = {"event_id": event_id(rng), "occurred_at": at + 2, "song_id": song_id}
    end |= {"kind": "ended"} if ratio > 0.5 else {"kind": "skipped", "direction": "next"}
    heard = [started(rng, song_id, at), progress(rng, song_id, at + 1, ratio), end]
    return [*heard, liked(rng, song_id, at + 1)] if rng.random() < 0.2 else heard


def playing(rng: random.Random, songs: Sequence[str], count: int, tokens: dict[str, str] | None = None) -> list[Event]:
    """`count` events of playing some of `songs` now, each with its slot token where there is one."""
    now = now_ms()
    made: list[Event] = []
    for _ in range(count):
        song_id, kind = rng.choice(songs), rng.random()
        if kind < 0.7:
            event = progress(rng, song_id, now, rng.random())
        else:
            event = started(rng, song_id, now) if kind < 0.9 else liked(rng, song_id, now)
        made.append({**event, "slot_token": tokens[song_id]} if tokens else event)
    return made


def post(token: str, events: Sequence[Event]) -> bytes:
    """The request that posts them."""
    return request("POST", "/v1/events", orjson.dumps({"events": events}), token)


def chunks(events: Sequence[Event], size: int) -> Iterator[Sequence[Event]]:
    """Consecutive pieces of at most `size`."""
    for at in range(0, len(events), size):
        yield events[at : at + size]
