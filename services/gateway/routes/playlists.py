"""The routes of playlists. The recommender makes, continues and resumes them; the gateway checks and forwards."""

from typing import Annotated, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Body
from starlette.responses import Response

from contracts.http import MarkToReach, NewPlaylist, PlaylistAnswer, PlaylistRequest, RestOfPlaylist, RestRequest
from services.gateway.bodies import JsonRoute
from services.gateway.parts import GatewayParts, Parts, Reader, Writer
from services.gateway.problems import problems
from services.gateway.recommender_client import Answer, mark_of

_RECEIPT: Final = "AAAA…"

router = APIRouter(tags=["playlists"], route_class=JsonRoute)


@router.post(
    "/v1/playlists", status_code=201, response_model=PlaylistAnswer, responses=problems(400, 401, 413, 415, 429, 503)
)
async def new_playlist(
    parts: GatewayParts, user_id: Writer, body: Annotated[NewPlaylist, Body(examples=[{"not_before": _RECEIPT}])]
) -> Response:
    """A new playlist, one song per arm."""
    ask = PlaylistRequest(user_id=user_id, not_before=_mark(parts, user_id, body.not_before))
    return _shown(parts, user_id, await parts.recommender.post(user_id, "/internal/playlists", body=ask))


@router.post(
    "/v1/playlists/{playlist_id}/rest",
    status_code=201,
    response_model=PlaylistAnswer,
    responses=problems(400, 401, 404, 413, 415, 429, 503),
)
async def rest(
    parts: GatewayParts,
    user_id: Writer,
    playlist_id: UUID,
    body: Annotated[RestOfPlaylist, Body(examples=[{"from_slot": 2, "not_before": _RECEIPT}])],
) -> Response:
    """Pick the slots from a slot on again."""
    ask = RestRequest(user_id=user_id, from_slot=body.from_slot, not_before=_mark(parts, user_id, body.not_before))
    path = "/internal/playlists/{}/rest"
    return _shown(parts, user_id, await parts.recommender.post(user_id, path, str(playlist_id), body=ask))


@router.get("/v1/playlists/{playlist_id}", response_model=PlaylistAnswer, responses=problems(400, 401, 404, 503))
async def resume(parts: GatewayParts, user_id: Reader, playlist_id: UUID) -> Response:
    """Resume a playlist: its last revision."""
    query = urlencode({"user_id": user_id})
    answer = await parts.recommender.get(user_id, "/internal/playlists/{}", str(playlist_id), query=query)
    if answer.status == 200:
        parts.hub.resumed(user_id, answer.body)
    return answer.response()


def _mark(parts: Parts, user_id: str, not_before: str | None) -> MarkToReach | None:
    """The mark that the profile must reach first. Raises Refused 400 for an invalid receipt."""
    receipt = parts.receipt_of(not_before, user_id)
    return mark_of(receipt) if receipt else None


def _shown(parts: Parts, user_id: str, answer: Answer) -> Response:
    if answer.status == 201:
        parts.hub.served(user_id, answer.body)
    return answer.response()
