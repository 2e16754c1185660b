"""The listener's anime list and profile; songs and anime."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Body, Path, Query
from pydantic import SkipValidation
from starlette.responses import Response

from contracts.http import AnimeHits, AnimeListAnswer, AnimeListBody, ListNote, ProfileAnswer, ScoreFormat, SongAnswer
from contracts.profiles import AnimeEntry, AnimeList
from contracts.tokens import Receipt
from contracts.topics import PROFILES
from services.common.process.clock import now_ms
from services.gateway.bodies import JsonRoute, RawAnimeList, read_leniently
from services.gateway.lists import NothingReadable, ReadList, read_list
from services.gateway.parts import GatewayParts, Parts, Reader, Writer
from services.gateway.problems import Refused, problems

_EXAMPLE: Final = {"entries": [{"mal_id": 5114, "status": "completed", "score": 9}]}

router = APIRouter(tags=["profile"], route_class=JsonRoute)


@router.put("/v1/profile/anime", responses=problems(400, 401, 413, 415, 429, 503))
async def put_anime_list(
    parts: GatewayParts, user_id: Writer, raw: Annotated[SkipValidation[AnimeListBody], Body(examples=[_EXAMPLE])]
) -> AnimeListAnswer:
    """Replace the listener's anime list. The readable entries are stored; the answer counts the others."""
    body, dropped = read_leniently(RawAnimeList, raw, frozenset({"score_format"}))
    read = readable("entries", body.entries, body.score_format)
    of_all = [ListNote(reason=reason, count=len(read.entries), examples=[]) for reason in dropped]
    receipt = await write_list(parts, user_id, read.entries)
    return AnimeListAnswer(
        count=len(read.entries),
        receipt=parts.signer.receipt(user_id, receipt),
        server_time=now_ms(),
        left_out=read.left_out,
        warnings=[*of_all, *read.warnings],
    )


def readable(name: str, raw_entries: list[Any], score_format: ScoreFormat | None = None) -> ReadList:
    """The readable part of a list, the body's field `name`. Raises Refused 400 if nothing is readable."""
    try:
        return read_list(raw_entries, score_format)
    except NothingReadable as nothing:
        raise Refused(400, "malformed", f"{name}: {nothing}") from None


async def write_list(parts: Parts, user_id: str, entries: list[AnimeEntry]) -> Receipt:
    """Log a whole anime list. Raises Refused 503."""
    now = now_ms()
    record = AnimeList(user_id=user_id, received_at=now, entries=tuple(entries))
    value = record.model_dump_json(by_alias=True, exclude_none=True).encode()
    position, receipt = await parts.event_log.append(PROFILES.name, user_id, [value], now)
    parts.hub.list_written(user_id, len(entries), position, receipt)
    return receipt


@router.get("/v1/me/profile", response_model=ProfileAnswer, responses=problems(401, 503))
async def my_profile(parts: GatewayParts, user_id: Reader) -> Response:
    """My profile, with what is derived from it."""
    return (await parts.recommender.get(user_id, "/internal/profiles/{}", user_id)).response()


@router.get("/v1/songs/{song_id:path}", response_model=SongAnswer, responses=problems(400, 401, 404, 503))
async def song(
    parts: GatewayParts, user_id: Reader, song_id: Annotated[str, Path(min_length=1, max_length=128)]
) -> Response:
    """A song, by its id or a YouTube id."""
    query = urlencode({"user_id": user_id})
    return (await parts.recommender.get(user_id, "/internal/songs/{}", song_id, query=query)).response()


@router.get("/v1/anime", response_model=AnimeHits, responses=problems(400, 401, 503))
async def anime(
    parts: GatewayParts,
    user_id: Reader,
    query: Annotated[str, Query(min_length=1, max_length=200)],
    limit: Annotated[int, Query(ge=1, le=50)] = 20,
) -> Response:
    """Anime by title: romaji, English, Japanese."""
    asked = urlencode({"query": query, "limit": limit})
    return (await parts.recommender.get(user_id, "/internal/anime", query=asked)).response()
