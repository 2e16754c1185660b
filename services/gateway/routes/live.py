"""GET /v1/me/live: server-sent events about the user's own events. It needs a bearer token, so clients use fetch."""

from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from services.common.process.clock import now_ms
from services.gateway.bodies import JsonRoute
from services.gateway.live import HEARTBEAT_SECONDS, Hub, message_of
from services.gateway.parts import GatewayParts, Reader
from services.gateway.problems import problems

_EXAMPLE: Final = 'event: accepted\ndata: {"event_id":"0198…","kind":"liked","partition":3,"offset":17}\n\n'
_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "An endless stream", "content": {"text/event-stream": {"example": _EXAMPLE}}}
}

router = APIRouter(tags=["profile"], route_class=JsonRoute)


@router.get("/v1/me/live", response_class=Response, responses={**_STREAM, **problems(401, 429)})
async def live(parts: GatewayParts, user_id: Reader) -> Response:
    """Live messages about each of my events."""
    parts.hub.check_limits(user_id)
    headers = {"x-accel-buffering": "no"}
    return StreamingResponse(_messages(parts.hub, user_id), media_type="text/event-stream", headers=headers)


async def _messages(hub: Hub, user_id: str) -> AsyncIterator[bytes]:
    stream = hub.subscribe(user_id)
    try:
        yield message_of("hello", {"user_id": user_id, "server_time": now_ms(), "heartbeat_seconds": HEARTBEAT_SECONDS})
        async for message in stream.messages():
            yield message
    finally:
        hub.unsubscribe(user_id, stream)
