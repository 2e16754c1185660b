"""POST /v1/events, the route for feedback. `stamp` checks the events, `writer` appends them to the log."""

from collections import Counter
from contextlib import suppress
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body
from starlette.responses import Response

from contracts.http import EventsAnswer, EventWarning, LogPosition, RejectedEvent, SongAnswer
from contracts.ledger import digest_of
from contracts.topics import FEEDBACK
from services.gateway.bodies import Events, JsonRoute
from services.gateway.parts import GatewayParts, Parts, Writer
from services.gateway.problems import Refused, problems
from services.gateway.stamp import SWAPPED, Stamped

# Lookups for one post: a listener plays few songs at once, and invented tokens must not cost a request each.
_MOST_LOOKUPS: Final = 5
_EXAMPLE: Final[dict[str, Any]] = {
    "events": [
        {
            "event_id": "0198b0a4-6c5e-7d53-a9c2-0f2f8f0a7d11",
            "kind": "progress",
            "occurred_at": 1_790_000_000_000,
            "schema": 1,
            "song_id": "anidb-12345",
            "slot_token": "the slot_token of the slot",
            "play_id": "0198b0a4-1111-7d53-a9c2-0f2f8f0a7d11",
            "watch_seconds": 61.5,
            "played_seconds": 58.0,
            "duration_seconds": 90.0,
        }
    ]
}

router = APIRouter(tags=["feedback"], route_class=JsonRoute)


@router.post(
    "/v1/events", status_code=202, response_model=EventsAnswer, responses=problems(400, 401, 413, 415, 429, 503)
)
async def post_events(
    parts: GatewayParts, user_id: Writer, body: Annotated[Events, Body(examples=[_EXAMPLE])]
) -> Response:
    """Post what a listener did. 202 once the log has the valid events; each event is checked separately."""
    stamp = parts.stamp(user_id)
    stamped = parts.stamper.post(body.events, stamp)
    if SWAPPED in stamped.attributions:
        stamped = parts.stamper.post(body.events, stamp, await _aliases(parts, user_id, stamped))
    receipt, position = None, None
    if stamped.values:
        receipt, position = await log_events(parts, user_id, stamped)
    for rejection in stamped.rejected:
        parts.metrics.events.labels(rejection.code).inc()
    answer = EventsAnswer(
        accepted=len(stamped.values),
        rejected=[RejectedEvent(event_id=each.event_id, reason=each.reason) for each in stamped.rejected],
        receipt=receipt,
        log=position,
        warnings=[EventWarning(event_id=each.event_id, reason=each.reason) for each in stamped.warnings],
        server_time=stamp.received_at,
    )
    # The hottest route: a model that is returned goes through FastAPI's validation once more.
    return Response(answer.model_dump_json(), 202, media_type="application/json")


async def log_events(parts: Parts, user_id: str, stamped: Stamped) -> tuple[str, LogPosition]:
    """Append the accepted events; returns (signed receipt, position). Raises Refused 503."""
    digest = digest_of(event.event_id.int for event in stamped.events)
    position, receipt = await parts.event_log.append(
        FEEDBACK.name, user_id, stamped.values, stamped.received_at, digest
    )
    parts.metrics.events.labels("accepted").inc(len(stamped.values))
    for warned in stamped.warnings:
        parts.metrics.warnings.labels(warned.code).inc()
    for attribution, n in Counter(stamped.attributions).items():
        parts.metrics.attributions.labels(attribution).inc(n)
    parts.hub.accepted(user_id, stamped.events, position, receipt)
    return parts.signer.receipt(user_id, receipt), position


async def _aliases(parts: Parts, user_id: str, stamped: Stamped) -> dict[str, list[str]]:
    """Other ids of the songs whose tokens name another song: it may be the same one, before a correction.

    Without an answer the tokens stay rejected; the events are accepted anyway.
    """
    events = zip(stamped.events, stamped.attributions, strict=True)
    found = {}
    for song_id in sorted({event.song_id for event, attribution in events if attribution == SWAPPED and event.song_id})[
        :_MOST_LOOKUPS
    ]:
        with suppress(Refused):
            answer = await parts.recommender.get(user_id, "/internal/songs/{}", song_id)
            if answer.status == 200:
                song = SongAnswer.model_validate_json(answer.body).song
                found[song_id] = [song.song_id, *song.aliases]
    return found
