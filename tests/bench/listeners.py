"""Listeners of the benchmarks: guests of the gateway, with the songs that they have heard posted through HTTP."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from services.common.process.clock import now_ms
from tests.bench.events import chunks, listening, post
from tests.bench.http_load import Outcome, ask_once, fire, request

SEED_BATCH = 250
SEED_CLIENTS = 8
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Listener:
    """A guest: the bearer token, the user behind it, and the songs heard."""

    token: str
    user_id: str
    heard: tuple[str, ...] = ()

    def as_json(self) -> list[object]:
        """For the process that keeps events flowing."""
        return [self.token, list(self.heard)]


async def guests(port: int, count: int) -> list[Listener]:
    """New guests. Raises RuntimeError when the gateway refuses one."""
    made: list[Listener] = []

    def note(status: int, body: bytes) -> None:
        if status != 201:
            raise RuntimeError(f"no session: {status} {body[:300]!r}")
        answer = orjson.loads(body)
        made.append(Listener(answer["token"], answer["user_id"]))

    asked = (request("POST", "/v1/sessions", b'{"guest":true}') for _ in range(count))
    await fire(port, asked, min(count, 8), note)
    return made


async def listeners_who_heard(port: int, songs: Sequence[str], heard: int, count: int, seed: int) -> list[Listener]:
    """`count` guests who each have heard `heard` random songs of `songs`, drawn with `seed`."""
    rng = random.Random(seed)
    found = [Listener(g.token, g.user_id, tuple(rng.sample(songs, heard))) for g in await guests(port, count)]
    await post_all(port, (raw for listener in found for raw in _history(rng, listener)))
    return found


def _history(rng: random.Random, listener: Listener) -> Iterable[bytes]:
    began = now_ms() - len(listener.heard) * 60_000 - HOUR_MS
    events = []
    for number, song_id in enumerate(listener.heard):
        events += listening(rng, song_id, began + number * 60_000)
    return (post(listener.token, piece) for piece in chunks(events, SEED_BATCH))


async def post_all(port: int, requests: Iterable[bytes], clients: int = SEED_CLIENTS) -> Outcome:
    """Post events; all must be taken. Raises RuntimeError with the answer of a post that was not."""

    def check(status: int, body: bytes) -> None:
        if status != 202 or orjson.loads(body)["rejected"]:
            raise RuntimeError(f"events were not taken: {status} {body[:500]!r}")

    return await fire(port, requests, clients, check)


async def slot_tokens(port: int, listener: Listener) -> dict[str, str]:
    """Song id -> slot token of a playlist that is served to the listener now."""
    status, body = await ask_once(port, playlist_request(listener))
    if status != 201:
        raise RuntimeError(f"no playlist: {status} {body[:500]!r}")
    return {slot["song_id"]: slot["slot_token"] for slot in orjson.loads(body)["slots"]}


def playlist_request(listener: Listener, not_before: str | None = None) -> bytes:
    """The request for a playlist, of a profile that reflects the receipt `not_before`."""
    body = {} if not_before is None else {"not_before": not_before}
    return request("POST", "/v1/playlists", orjson.dumps(body), listener.token)
