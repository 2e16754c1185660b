"""The internal HTTP surface: parse, ask the recommender, write the answer. Errors are `contracts.http.Problem`.

- 400 malformed, nothing_to_pick: the body or a parameter; the message names it
- 404 no_such_playlist, no_such_song
- 500 internal: a fault of ours; the log has it
- 503 log_unavailable, profiles_unavailable, not_ready: with Retry-After
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.events import first_error
from contracts.http import AnimeHit, AnimeHits, AskMark, AskPlaylist, AskRest, Problem, SongAnswer
from contracts.records import read_record
from contracts.topics import CATALOGUE
from services.common.clock import now_ms
from services.common.process_identity import ProcessIdentity
from services.recommender.believed import believed
from services.recommender.catalogue import Catalogue
from services.recommender.metrics import PLAYLIST_SECONDS, arm_turns
from services.recommender.playlist_log import LogUnavailable
from services.recommender.serving import NoSuchPlaylist, NothingToPick, NotReady, ProfilesUnavailable, Recommender

RETRY_AFTER_SECONDS: Final = 2
MOST_HITS: Final = 100

_Body = TypeVar("_Body", bound=BaseModel)
_Handler = Callable[[Request], Awaitable[Response]]
Readiness = Callable[[], Awaitable[dict[str, str]]]
Follows = Callable[[], Awaitable[dict[str, dict[str, Any]]]]


class Malformed(ValueError):
    """The request cannot be understood; `str()` says what is wrong with it."""


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


def build_app(recommender: Recommender, identity: ProcessIdentity, not_ready: Readiness, follows: Follows) -> Starlette:
    """The application. `not_ready` gives what is missing for serving, by part; empty when all is there.

    `identity`: who answers. `follows`: how far behind the log each part is that follows it.
    """
    surface = _Surface(recommender, identity, not_ready, follows)
    return Starlette(
        routes=[
            Route("/internal/playlists", surface.new_playlist, methods=["POST"]),
            Route("/internal/playlists/{playlist_id}/rest", surface.rest, methods=["POST"]),
            Route("/internal/playlists/{playlist_id}", surface.resume, methods=["GET"]),
            Route("/internal/profiles/{user_id:path}", surface.profile, methods=["GET"]),
            Route("/internal/songs/{reference:path}", surface.song, methods=["GET"]),
            Route("/internal/anime", surface.anime, methods=["GET"]),
            Route("/internal/await", surface.await_mark, methods=["POST"]),
            Route("/healthz", _healthz, methods=["GET"]),
            Route("/readyz", surface.readyz, methods=["GET"]),
            Route("/metrics", _metrics, methods=["GET"]),
        ],
        exception_handlers=dict.fromkeys([*_PROBLEMS, Exception], _problem),
    )


class _Surface:
    """The routes."""

    def __init__(
        self, recommender: Recommender, identity: ProcessIdentity, not_ready: Readiness, follows: Follows
    ) -> None:
        self._recommender = recommender
        self._identity = identity
        self._not_ready = not_ready
        self._follows = follows

    async def new_playlist(self, request: Request) -> Response:
        ask = await _body(request, AskPlaylist)
        with PLAYLIST_SECONDS.labels("new").time(), arm_turns() as turns:
            return _timed(_json(await self._recommender.playlist(ask), 201), turns)

    async def rest(self, request: Request) -> Response:
        ask = await _body(request, AskRest)
        if ask.from_slot < 0:
            raise Malformed("from_slot: slots are counted from 0")
        with PLAYLIST_SECONDS.labels("rest").time(), arm_turns() as turns:
            return _timed(_json(await self._recommender.rest(_playlist_id(request), ask), 201), turns)

    async def resume(self, request: Request) -> Response:
        user_id = request.query_params.get("user_id")
        if not user_id:
            raise Malformed("the parameter user_id is missing")
        with PLAYLIST_SECONDS.labels("resume").time():
            return _json(await self._recommender.resume(user_id, _playlist_id(request)))

    async def profile(self, request: Request) -> Response:
        snapshot, listener, world = await self._recommender.read(request.path_params["user_id"])
        return _json(believed(snapshot, listener, world.catalogue, now_ms()))

    async def song(self, request: Request) -> Response:
        reference = request.path_params["reference"]
        asked_by, arm = request.query_params.get("user_id", ""), request.query_params.get("arm", "")
        entries = self._recommender.world().catalogue.find_all(reference)
        if not entries:
            raise NoSuchSong(f"the catalogue has no song {reference}; it takes song ids and YouTube ids")
        entry = await self._recommender.served_of(asked_by, entries, arm) if len(entries) > 1 else entries[0]
        others = [each.song_id for each in entries if each is not entry]
        return _json(SongAnswer(song=read_record(CATALOGUE.name, entry.value), url=entry.url, shared_with=others))

    async def anime(self, request: Request) -> Response:
        query = request.query_params.get("query", "")
        limit = _limit(request.query_params.get("limit", "20"))
        catalogue = self._recommender.world().catalogue
        hits = [_hit(catalogue, row) for row in catalogue.search.find(query, limit)]
        return _json(AnimeHits(query=query, hits=hits))

    async def await_mark(self, request: Request) -> Response:
        return _json(await self._recommender.reached(await _body(request, AskMark)))

    async def readyz(self, request: Request) -> Response:
        missing = await self._not_ready()
        world = self._recommender.library.world
        state = {
            "ready": not missing,
            "missing": missing,
            **self._identity.said(),
            "songs": len(world.catalogue),
            "arms": {arm: bound.version for arm, bound in world.models.items()},
            "left_out": dict(world.left_out),
            "behind": dict(world.behind),
            "follows": await self._follows(),
        }
        return Response(orjson.dumps(state), 503 if missing else 200, media_type="application/json")


async def _healthz(request: Request) -> Response:
    return Response(b'{"status":"ok"}', media_type="application/json")


async def _metrics(request: Request) -> Response:
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


def _limit(text: str) -> int:
    try:
        limit = int(text)
    except ValueError:
        raise Malformed("the parameter limit must be a number") from None
    return max(1, min(MOST_HITS, limit))


async def _body(request: Request, model: type[_Body]) -> _Body:
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as problem:
        raise Malformed(first_error(problem)) from None


def _playlist_id(request: Request) -> UUID:
    try:
        return UUID(request.path_params["playlist_id"])
    except ValueError:
        raise NoSuchPlaylist("no such playlist: its id is a UUID") from None


def _json(answer: BaseModel, status: int = 200) -> Response:
    return Response(answer.model_dump_json(by_alias=True).encode(), status, media_type="application/json")


def _timed(answer: Response, turns: Mapping[str, float]) -> Response:
    """With what each arm took, in milliseconds, as browsers' tools show it (W3C Server Timing)."""
    answer.headers["Server-Timing"] = ", ".join(f"{arm};dur={1e3 * seconds:.3f}" for arm, seconds in turns.items())
    return answer


async def _problem(request: Request, error: Exception) -> Response:
    status, code = _PROBLEMS.get(type(error), (500, "internal"))
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
    message = str(error) if status != 500 else "the recommender failed; its log says how"
    problem = Problem(error=code, message=message)
    return Response(problem.model_dump_json().encode(), status, headers, media_type="application/json")
