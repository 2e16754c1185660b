"""POST /v1/events: the one way in for feedback. What is checked: services.gateway.stamp; durability: …writer."""

from collections import Counter
from contextlib import suppress
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from contracts.http import (
    MAX_BODY_BYTES,
    MAX_EVENTS,
    EventsAnswer,
    EventsBody,
    EventWarning,
    LogPosition,
    RejectedEvent,
    SongAnswer,
)
from contracts.ledger import digest_of
from contracts.topics import FEEDBACK
from services.gateway.bodies import as_model, parse_json, read_body
from services.gateway.openapi import EVENTS_EXAMPLE, documented, events_body
from services.gateway.parts import Parts
from services.gateway.problems import Refused
from services.gateway.stamp import SWAPPED, Stamped

# Of one post: a listener plays few songs at once, and whoever makes tokens up shall not make the gateway ask for each.
_MOST_ASKED: Final = 5


def router(parts: Parts) -> APIRouter:
    """`POST /v1/events`."""
    routes = APIRouter(tags=["feedback"])

    @routes.post(
        "/v1/events",
        summary="What a listener did; 202 once the log has it",
        **documented(202, EventsAnswer, body=events_body(EVENTS_EXAMPLE), fails=(400, 401, 413, 415, 429, 503)),
    )
    async def post_events(request: Request) -> Response:
        return await post(parts, request)

    return routes


async def post(parts: Parts, request: Request) -> Response:
    """One post, from its bytes to its answer. Raises Refused."""
    user_id = parts.writer(request)
    raw = parse_json(await read_body(request, MAX_BODY_BYTES))
    return await take(parts, user_id, _events_of(raw))


async def take(parts: Parts, user_id: str, raw_events: list[object]) -> Response:
    """Check, stamp and append a post; 202 when what was good in it is in the log."""
    stamp = parts.stamp(user_id)
    stamped = parts.stamper.post(raw_events, stamp)
    if SWAPPED in stamped.attributions:
        stamped = parts.stamper.post(raw_events, stamp, await _aliases(parts, user_id, stamped))
    receipt, position = None, None
    if stamped.values:
        receipt, position = await log_events(parts, user_id, stamped)
    count_rejected(parts, stamped)
    answer = EventsAnswer(
        accepted=len(stamped.values),
        rejected=[RejectedEvent(event_id=each.event_id, reason=each.reason) for each in stamped.rejected],
        receipt=receipt,
        log=position,
        warnings=[EventWarning(event_id=each.event_id, reason=each.reason) for each in stamped.warnings],
        server_time=stamp.received_at,
    )
    return Response(answer.model_dump_json(), 202, media_type="application/json")


async def _aliases(parts: Parts, user_id: str, stamped: Stamped) -> dict[str, list[str]]:
    """Other ids of the songs whose tokens are of another song: it may be the same one, before a correction.

    Without an answer the tokens stay refused; the events are taken all the same.
    """
    events = zip(stamped.events, stamped.attributions, strict=True)
    found = {}
    for song_id in sorted({event.song_id for event, said in events if said == SWAPPED and event.song_id})[:_MOST_ASKED]:
        with suppress(Refused):
            answer = await parts.recommender.get(user_id, "/internal/songs/{}", song_id)
            if answer.status == 200:
                song = SongAnswer.model_validate_json(answer.body).song
                found[song_id] = [song.song_id, *song.aliases]
    return found


async def log_events(parts: Parts, user_id: str, stamped: Stamped) -> tuple[str, LogPosition]:
    """Append the accepted events: (signed receipt, where they lie). Raises Refused 503."""
    digest = digest_of(event.event_id.int for event in stamped.events)
    position, receipt = await parts.log.append(FEEDBACK.name, user_id, stamped.values, stamped.received_at, digest)
    parts.metrics.events.labels("accepted").inc(len(stamped.values))
    for warned in stamped.warnings:
        parts.metrics.warnings.labels(warned.code).inc()
    for attribution, n in Counter(stamped.attributions).items():
        parts.metrics.attributions.labels(attribution).inc(n)
    parts.hub.accepted(user_id, stamped.events, position, receipt)
    return parts.signer.receipt(user_id, receipt), position


def count_rejected(parts: Parts, stamped: Stamped) -> None:
    """Count the rejections of a post by their code."""
    for rejection in stamped.rejected:
        parts.metrics.events.labels(rejection.code).inc()


def _events_of(raw: object) -> list[object]:
    events = raw.get("events") if isinstance(raw, dict) else None
    if isinstance(events, list) and len(events) > MAX_EVENTS:
        raise Refused(413, "too_large", f"{len(events)} events are too many for one post; send at most {MAX_EVENTS}")
    return as_model(EventsBody, raw).events
