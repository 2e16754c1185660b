"""The listener's anime list in, and what the system believes about them out; songs and anime to look at."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from contracts.http import (
    AnimeHits,
    AnimeListAnswer,
    AnimeListBody,
    Body,
    ListNote,
    ProfileAnswer,
    ScoreFormat,
    SongAnswer,
)
from contracts.profiles import AnimeEntry, AnimeList
from contracts.tokens import Receipt
from contracts.topics import PROFILES
from services.common.clock import now_ms
from services.gateway.bodies import LIST_BODY_BYTES, read_without
from services.gateway.lists import NothingReadable, ReadList, read_list
from services.gateway.openapi import LIST_EXAMPLE, documented, json_body
from services.gateway.parts import Parts
from services.gateway.problems import Refused


class _ListBody(Body):
    """An AnimeListBody whose entries are read one by one."""

    entries: list[Any]
    score_format: ScoreFormat | None = None


def router(parts: Parts) -> APIRouter:
    """`PUT /v1/profile/anime`, `GET /v1/me/profile`, `/v1/songs/{id}`, `/v1/anime`."""
    routes = APIRouter(tags=["profile"])
    _add_list(routes, parts)
    _add_reads(routes, parts)
    return routes


def _add_list(routes: APIRouter, parts: Parts) -> None:
    @routes.put(
        "/v1/profile/anime",
        summary="Replace the listener's anime list",
        **documented(
            200, AnimeListAnswer, body=json_body(AnimeListBody, LIST_EXAMPLE), fails=(400, 401, 413, 415, 429, 503)
        ),
    )
    async def put_anime_list(request: Request) -> Response:
        user_id = parts.writer(request)
        body, dropped = await read_without(request, _ListBody, frozenset({"score_format"}), LIST_BODY_BYTES)
        read = readable("entries", body.entries, body.score_format)
        of_all = [ListNote(reason=reason, count=len(read.entries), examples=[]) for reason in dropped]
        receipt = await write_list(parts, user_id, read.entries)
        answer = AnimeListAnswer(
            count=len(read.entries),
            receipt=parts.signer.receipt(user_id, receipt),
            server_time=now_ms(),
            left_out=read.left_out,
            warnings=[*of_all, *read.warnings],
        )
        return Response(answer.model_dump_json(), media_type="application/json")


def readable(name: str, raw_entries: list[Any], score_format: ScoreFormat | None = None) -> ReadList:
    """What can be read of a list, the body's field `name`. Raises Refused 400 when nothing of it can be."""
    try:
        return read_list(raw_entries, score_format)
    except NothingReadable as nothing:
        raise Refused(400, "malformed", f"{name}: {nothing}") from None


async def write_list(parts: Parts, user_id: str, entries: list[AnimeEntry]) -> Receipt:
    """Log a whole anime list. Raises Refused 503."""
    now = now_ms()
    record = AnimeList(user_id=user_id, received_at=now, entries=tuple(entries))
    value = record.model_dump_json(by_alias=True, exclude_none=True).encode()
    position, receipt = await parts.log.append(PROFILES.name, user_id, [value], now)
    parts.hub.list_written(user_id, len(entries), position, receipt)
    return receipt


def _add_reads(routes: APIRouter, parts: Parts) -> None:
    @routes.get(
        "/v1/me/profile",
        summary="What the system believes about me",
        **documented(200, ProfileAnswer, fails=(401, 503)),
    )
    async def my_profile(request: Request) -> Response:
        user_id = parts.reader(request)
        return (await parts.recommender.get(user_id, "/internal/profiles/{}", user_id)).response()

    @routes.get(
        "/v1/songs/{song_id:path}",
        summary="A song, by its id or a YouTube id",
        **documented(200, SongAnswer, fails=(400, 401, 404, 503)),
    )
    async def song(request: Request, song_id: Annotated[str, Path(min_length=1, max_length=128)]) -> Response:
        user_id = parts.reader(request)
        return (
            await parts.recommender.get(user_id, "/internal/songs/{}", song_id, query=urlencode({"user_id": user_id}))
        ).response()

    @routes.get(
        "/v1/anime",
        summary="Anime by title: romaji, English, Japanese",
        **documented(200, AnimeHits, fails=(400, 401, 503)),
    )
    async def anime(
        request: Request,
        query: Annotated[str, Query(min_length=1, max_length=200)],
        limit: Annotated[int, Query(ge=1, le=50)] = 20,
    ) -> Response:
        user_id = parts.reader(request)
        asked = urlencode({"query": query, "limit": limit})
        return (await parts.recommender.get(user_id, "/internal/anime", query=asked)).response()
