"""The internal HTTP API: parses requests, calls the service, writes answers. Errors are `contracts.http.Problem`.

- 400 malformed, nothing_to_pick: the body or a parameter; the message names it
- 404 no_such_playlist, no_such_song, not_found: no such route
- 500 internal: a fault of the recommender; its log says which
- 503 log_unavailable, profiles_unavailable, not_ready: with Retry-After
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, FastAPI, Query
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from contracts.events import sentence
from contracts.http import (
    AnimeHit,
    AnimeHits,
    MarkAnswer,
    MarkRequest,
    PlaylistAnswer,
    PlaylistRequest,
    Problem,
    ProfileAnswer,
    RestRequest,
    SongAnswer,
)
from contracts.records import read_record
from contracts.topics import CATALOGUE
from services.common.process.clock import now_ms
from services.common.process.identity import ProcessIdentity
from services.recommender.answering import profile_answer
from services.recommender.catalogue import Catalogue
from services.recommender.metrics import PLAYLIST_SECONDS, arm_turns
from services.recommender.playlist_log import LogUnavailable
from services.recommender.serving import NoSuchPlaylist, NothingToPick, NotReady, PlaylistService, ProfilesUnavailable

RETRY_AFTER_SECONDS: Final = 2
MOST_HITS: Final = 100

Readiness = Callable[[], Awaitable[dict[str, str]]]
Follows = Callable[[], Awaitable[dict[str, dict[str, Any]]]]


class Malformed(ValueError):
    """The request is invalid; `str()` says why."""


class NoSuchSong(LookupError):
    """The catalogue has no such song."""


_PROBLEMS: Final[dict[type[Exception], tuple[int, str]]] = {
    Malformed: (400, "malformed"),
    NothingToPick: (400, "nothing_to_pick"),
    NoSuchPlaylist: (404, "no_such_playlist"),
    NoSuchSong: (404, "no_such_song"),
    NotReady: (503, "not_ready"),
    LogUnavailable: (503, "log_unavailable"),
    ProfilesUnavailable: (503, "profiles_unavailable"),
}

router = APIRouter()


@dataclass(frozen=True)
class HttpParts:
    """What the routes use.

    `not_ready`: the missing parts, and what to do; empty when ready. `identity`: of this process. `follows`: the lag of
    each part that follows the log.
    """

    recommender: PlaylistService
    identity: ProcessIdentity
    not_ready: Readiness
    follows: Follows


async def _parts(request: Request) -> HttpParts:
    parts: HttpParts = request.app.state.parts
    return parts


Parts = Annotated[HttpParts, Depends(_parts)]


def build_app(parts: HttpParts) -> FastAPI:
    """The application."""
    handlers: dict[Any, Any] = dict.fromkeys([*_PROBLEMS, Exception], _problem)
    handlers[RequestValidationError] = _malformed
    handlers[HTTPException] = _no_such_route
    app = FastAPI(title="AniMusic's recommender", openapi_url=None, exception_handlers=handlers)
    app.state.parts = parts
    app.include_router(router)
    return app


@router.post("/internal/playlists", status_code=201)
async def new_playlist(parts: Parts, request: PlaylistRequest, response: Response) -> PlaylistAnswer:
    """A new playlist."""
    with PLAYLIST_SECONDS.labels("new").time(), arm_turns() as turns:
        return _timed(response, await parts.recommender.playlist(request), turns)


@router.post("/internal/playlists/{playlist_id}/rest", status_code=201)
async def rest(parts: Parts, playlist_id: UUID, request: RestRequest, response: Response) -> PlaylistAnswer:
    """The next revision of a playlist: slots from a given one on are picked again."""
    if request.from_slot < 0:
        raise Malformed("from_slot: slots are counted from 0")
    with PLAYLIST_SECONDS.labels("rest").time(), arm_turns() as turns:
        return _timed(response, await parts.recommender.rest(playlist_id, request), turns)


@router.get("/internal/playlists/{playlist_id}")
async def resume(parts: Parts, playlist_id: UUID, user_id: Annotated[str, Query(min_length=1)]) -> PlaylistAnswer:
    """The last revision of a playlist."""
    with PLAYLIST_SECONDS.labels("resume").time():
        return await parts.recommender.resume(user_id, playlist_id)


@router.get("/internal/profiles/{user_id:path}")
async def profile(parts: Parts, user_id: str) -> ProfileAnswer:
    """The profile of a listener."""
    profile, view, snapshot = await parts.recommender.read(user_id)
    return profile_answer(profile, view, snapshot.catalogue, now_ms())


@router.get("/internal/songs/{reference:path}")
async def song(parts: Parts, reference: str, user_id: str = "", arm: str = "") -> SongAnswer:
    """A song by its id or a YouTube id; of songs that share a video the one that this listener was served."""
    entries = parts.recommender.snapshot().catalogue.find_all(reference)
    if not entries:
        raise NoSuchSong(f"the catalogue has no song {reference}; send a song id or a YouTube id")
    entry = await parts.recommender.served_of(user_id, entries, arm) if len(entries) > 1 else entries[0]
    others = [each.song_id for each in entries if each is not entry]
    return SongAnswer(song=read_record(CATALOGUE.name, entry.value), url=entry.url, shared_with=others)


@router.get("/internal/anime")
async def anime(parts: Parts, query: str = "", limit: int = 20) -> AnimeHits:
    """Anime by title."""
    catalogue = parts.recommender.snapshot().catalogue
    rows = catalogue.search.find(query, max(1, min(MOST_HITS, limit)))
    return AnimeHits(query=query, hits=[_hit(catalogue, row) for row in rows])


@router.post("/internal/await")
async def await_mark(parts: Parts, request: MarkRequest) -> MarkAnswer:
    """Wait until a profile reflects a mark."""
    return await parts.recommender.reached(request)


@router.get("/readyz")
async def readyz(parts: Parts) -> Response:
    """Whether a playlist can be served; else 503, with what is missing."""
    missing = await parts.not_ready()
    snapshot = parts.recommender.snapshots.current
    state = {
        "ready": not missing,
        "missing": missing,
        **parts.identity.as_dict(),
        "songs": len(snapshot.catalogue),
        "arms": {arm: bound.version for arm, bound in snapshot.models.items()},
        "left_out": dict(snapshot.left_out),
        "behind": dict(snapshot.behind),
        "follows": await parts.follows(),
    }
    return Response(orjson.dumps(state), 503 if missing else 200, media_type="application/json")


@router.get("/healthz")
async def healthz() -> Response:
    """The process is running."""
    return Response(b'{"status":"ok"}', media_type="application/json")


@router.get("/metrics")
async def metrics() -> Response:
    """The metrics, for Prometheus."""
    return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})


def _hit(catalogue: Catalogue, row: int) -> AnimeHit:
    anime = catalogue.anime[row]
    return AnimeHit(
        anime_id=anime.anime_id,
        mal_id=anime.mal_id,
        title=anime.title,
        title_en=anime.english,
        title_jp=anime.japanese,
        songs=len(catalogue.songs_of_anime.of(row)),
    )


def _timed(response: Response, answer: PlaylistAnswer, turns: Mapping[str, float]) -> PlaylistAnswer:
    """Add the time of each arm as a Server-Timing header, in milliseconds; browsers' tools show it."""
    response.headers["Server-Timing"] = ", ".join(f"{arm};dur={1e3 * seconds:.3f}" for arm, seconds in turns.items())
    return answer


async def _malformed(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    detail = error.errors()[0]
    if detail["loc"] == ("path", "playlist_id"):
        return _answer(404, "no_such_playlist", "no such playlist: its id is a UUID")
    return _answer(400, "malformed", sentence({**detail, "loc": detail["loc"][1:]}))


async def _no_such_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(error.status_code, "not_found", str(error.detail))


async def _problem(_: Request, error: Exception) -> Response:
    status, code = _PROBLEMS.get(type(error), (500, "internal"))
    return _answer(status, code, str(error) if status != 500 else "the recommender failed; see its log for the cause")


def _answer(status: int, code: str, message: str) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
    body = Problem(error=code, message=message).model_dump_json()
    return Response(body, status, headers, media_type="application/json")
