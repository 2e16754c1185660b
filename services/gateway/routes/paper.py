"""The paper's own three endpoints, with its names and bodies, for its clients.

They need no bearer token: any client that reaches them may write as any of the paper's users. So, without a setting,
they are on only while the port is bound to loopback, and their users' ids have their own namespace. The arm in
`recommended_by` is self-reported (attribution `claimed`). An invalid value is dropped, and the answer lists it.
"""

import asyncio
from typing import Annotated, Any, Final
from urllib.parse import urlencode
from uuid import uuid4

from fastapi import APIRouter, Body, Query
from pydantic import SkipValidation, ValidationError
from starlette.responses import Response

from contracts.arms import ARMS, arm_named
from contracts.events import ClientEvent, first_error
from contracts.http import (
    PaperFeedback,
    PaperFeedbackAnswer,
    PaperPlaylist,
    PaperProfile,
    PaperProfileAnswer,
    PaperVideo,
    PlaylistAnswer,
    PlaylistRequest,
    PlaylistSlot,
    SongAnswer,
    Username,
)
from contracts.tokens import Receipt
from services.gateway.bodies import JsonRoute, RawPaperProfile, read_leniently
from services.gateway.identity import paper_user
from services.gateway.parts import GatewayParts, Parts
from services.gateway.problems import Refused, problems
from services.gateway.reading import sentences
from services.gateway.recommender_client import RecommenderClient
from services.gateway.routes.events import log_events
from services.gateway.routes.profile import readable, write_list

WAIT_MS: Final = 900
WAIT_SECONDS: Final = 1.0

# An invalid value of these is dropped.
OPTIONAL_FIELDS: Final = frozenset({"recommended_by", "watch_time", "total_video_time", "liked"})
_WRITE_PROBLEMS: Final = problems(400, 413, 415, 429, 503)
_OFF: Final = "the paper's endpoints are off; ANIMUSIC_GATEWAY__PAPER_ENDPOINTS=true turns them on"
_PROFILE_EXAMPLE: Final = {"anilist_username": "new", "mal_ids": [5114, 9253, 16498]}
_FEEDBACK_EXAMPLE: Final = {
    "anilist_username": "new",
    "song_id": "anidb-12345",
    "recommended_by": "TF-IDF",
    "watch_time": 61.5,
    "total_video_time": 90.0,
    "liked": True,
}


router = APIRouter(tags=["the paper's endpoints"], route_class=JsonRoute)
switched_off = APIRouter(include_in_schema=False)


@router.post("/upload_anilist_profile", responses=_WRITE_PROBLEMS)
async def upload(
    parts: GatewayParts, raw: Annotated[SkipValidation[PaperProfile], Body(examples=[_PROFILE_EXAMPLE])]
) -> PaperProfileAnswer:
    """Replace a user's anime list."""
    body, _ = read_leniently(RawPaperProfile, raw)
    user_id = _user_within_rate(parts, body.anilist_username)
    read = readable("mal_ids", body.mal_ids)
    receipt = await write_list(parts, user_id, read.entries)
    await _wait_until_reflected(parts.recommender, user_id, receipt)
    return PaperProfileAnswer(count=len(read.entries), left_out=read.left_out, warnings=read.warnings)


@router.post("/feedback", responses={**_WRITE_PROBLEMS, **problems(404)})
async def feedback(
    parts: GatewayParts, raw: Annotated[SkipValidation[PaperFeedback], Body(examples=[_FEEDBACK_EXAMPLE])]
) -> PaperFeedbackAnswer:
    """What a user did with a recommended song."""
    body, dropped = read_leniently(PaperFeedback, raw, OPTIONAL_FIELDS)
    arm, unknown = _arm_of(body)
    user_id = _user_within_rate(parts, body.anilist_username)
    song_id = await resolve_song(parts.recommender, user_id, body.song_id, arm)
    stamp = parts.stamp(user_id)
    events, impossible = paper_events(body, song_id, stamp.received_at)
    stamped = parts.stamper.self_reported(events, arm, stamp)
    token, _ = await log_events(parts, user_id, stamped)
    await _wait_until_reflected(parts.recommender, user_id, parts.signer.read_receipt(token, user_id=user_id))
    return PaperFeedbackAnswer(warnings=[*dropped, *unknown, *impossible])


@router.get("/playlist", response_model=PaperPlaylist, responses=problems(400, 429, 503))
async def playlist(parts: GatewayParts, anilist_username: Annotated[Username, Query()]) -> PaperPlaylist | Response:
    """A playlist for a user."""
    user_id = _user_within_rate(parts, anilist_username)
    answer = await parts.recommender.post(user_id, "/internal/playlists", body=PlaylistRequest(user_id=user_id))
    if answer.status != 201:
        return answer.response()
    served = PlaylistAnswer.model_validate_json(answer.body)
    return PaperPlaylist(videos=[_video(slot) for slot in served.slots])


@switched_off.post("/upload_anilist_profile")
@switched_off.post("/feedback")
@switched_off.get("/playlist")
async def off() -> Response:
    """Answer 404, naming the setting."""
    raise Refused(404, "not_found", _OFF)


def paper_events(body: PaperFeedback, song_id: str, now: int) -> tuple[list[ClientEvent], list[str]]:
    """Convert the paper's feedback to our events; also returns a warning for each impossible value.

    Both times, if they are consistent, give a progress event. `liked: true` gives a like. Otherwise the song counts as
    started, so that the song before it is settled (a song that is playing is not disliked yet).
    """
    base: dict[str, Any] = {"occurred_at": now, "song_id": song_id}
    events = [_event({**base, "kind": "liked" if body.liked else "started"})]
    if body.watch_time is None or not body.total_video_time:
        return events, []
    times = {"watch_seconds": body.watch_time, "duration_seconds": body.total_video_time}
    try:
        return [*events, _event({**base, **times, "kind": "progress"})], []
    except ValidationError as error:
        why = first_error(error).replace("watch_seconds", "watch_time").replace("duration_seconds", "total_video_time")
        return events, sentences({"watch_time": why, "total_video_time": why})


def _event(fields: dict[str, Any]) -> ClientEvent:
    return ClientEvent.model_validate({**fields, "event_id": uuid4()})


async def resolve_song(recommender: RecommenderClient, user_id: str, ref: str, arm: str | None) -> str:
    """The id of a song, given by its id or a YouTube id. Raises Refused 404 for an unknown one.

    The answer is not cached: songs may share a video, and it is the one that this listener was served last.
    """
    query = urlencode({"user_id": user_id, "arm": arm or ""})
    answer = await recommender.get(user_id, "/internal/songs/{}", ref, query=query)
    if answer.status != 200:
        raise Refused(404, "not_found", "song_id is neither a song of the catalogue nor one of its YouTube ids")
    return SongAnswer.model_validate_json(answer.body).song.song_id


async def _wait_until_reflected(recommender: RecommenderClient, user_id: str, receipt: Receipt) -> None:
    """Wait until the profile reflects a write, at most a second."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await recommender.wait_for(user_id, receipt, WAIT_MS)
    except (Refused, TimeoutError):
        return


def _user_within_rate(parts: Parts, username: str) -> str:
    user_id = paper_user(username)
    parts.identity.charge_post(user_id)
    return user_id


def _arm_of(body: PaperFeedback) -> tuple[str | None, list[str]]:
    """The arm that the client names (None: it names none), and a warning for an unknown name."""
    if not body.recommended_by:
        return None, []
    arm = arm_named(body.recommended_by)
    if arm is None:
        return None, sentences({"recommended_by": f"no arm has this name; use one of {', '.join(ARMS)}"})
    return arm, []


def _video(slot: PlaylistSlot) -> PaperVideo:
    return PaperVideo(
        youtube_video_id=slot.youtube_id or slot.song_id,
        youtube_url=slot.url,
        song=slot.title,
        anime=slot.anime,
        recommended_by=slot.arm,
    )
