"""Playlists: made, continued and resumed by the recommender; checked, bounded and made visible here."""

from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from contracts.http import AskPlaylist, AskRest, NewPlaylist, PlaylistAnswer, RestOfPlaylist
from services.gateway.bodies import read_model
from services.gateway.openapi import documented, json_body
from services.gateway.parts import Parts
from services.gateway.recommender import Answer, mark_of

_RECEIPT = "AAAA…"
_FAILS = (400, 401, 413, 415, 429, 503)


def router(parts: Parts) -> APIRouter:
    """`POST /v1/playlists`, `POST /v1/playlists/{id}/rest`, `GET /v1/playlists/{id}`."""
    routes = APIRouter(tags=["playlists"])
    _add_writes(routes, parts)

    @routes.get(
        "/v1/playlists/{playlist_id}",
        summary="Resume a playlist: its last revision",
        **documented(200, PlaylistAnswer, fails=(400, 401, 404, 503)),
    )
    async def resume(request: Request, playlist_id: UUID) -> Response:
        user_id = parts.reader(request)
        query = urlencode({"user_id": user_id})
        answer = await parts.recommender.get(user_id, "/internal/playlists/{}", str(playlist_id), query=query)
        if answer.status == 200:
            parts.hub.resumed(user_id, answer.body)
        return answer.response()

    return routes


def _add_writes(routes: APIRouter, parts: Parts) -> None:
    @routes.post(
        "/v1/playlists",
        summary="A new playlist, one song per arm",
        **documented(201, PlaylistAnswer, body=json_body(NewPlaylist, {"not_before": _RECEIPT}), fails=_FAILS),
    )
    async def new_playlist(request: Request) -> Response:
        return await post(parts, request)

    @routes.post(
        "/v1/playlists/{playlist_id}/rest",
        summary="Pick the rest again, from a slot on",
        **documented(
            201,
            PlaylistAnswer,
            body=json_body(RestOfPlaylist, {"from_slot": 2, "not_before": _RECEIPT}),
            fails=(*_FAILS, 404),
        ),
    )
    async def rest(request: Request, playlist_id: UUID) -> Response:
        user_id = parts.writer(request)
        body = await read_model(request, RestOfPlaylist)
        receipt = parts.receipt_of(body.not_before, user_id)
        ask = AskRest(user_id=user_id, from_slot=body.from_slot, not_before=mark_of(receipt) if receipt else None)
        path = "/internal/playlists/{}/rest"
        return _shown(parts, user_id, await parts.recommender.post(user_id, path, str(playlist_id), body=ask))


async def post(parts: Parts, request: Request) -> Response:
    """One new playlist. Raises Refused."""
    user_id = parts.writer(request)
    body = await read_model(request, NewPlaylist)
    receipt = parts.receipt_of(body.not_before, user_id)
    ask = AskPlaylist(user_id=user_id, not_before=mark_of(receipt) if receipt else None)
    return _shown(parts, user_id, await parts.recommender.post(user_id, "/internal/playlists", body=ask))


def _shown(parts: Parts, user_id: str, answer: Answer) -> Response:
    if answer.status == 201:
        parts.hub.served(user_id, answer.body)
    return answer.response()
