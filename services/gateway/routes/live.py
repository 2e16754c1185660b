"""GET /v1/me/live: server-sent events about the user's own clicks, under a bearer (so: fetch, not EventSource)."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from services.common.clock import now_ms
from services.gateway.live import HEARTBEAT_SECONDS, Hub, message_of
from services.gateway.openapi import LIVE_EXAMPLE, problems
from services.gateway.parts import Parts

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "An endless stream", "content": {"text/event-stream": {"example": LIVE_EXAMPLE}}}
}


def router(parts: Parts) -> APIRouter:
    """`GET /v1/me/live`."""
    routes = APIRouter(tags=["profile"])

    @routes.get(
        "/v1/me/live",
        summary="What happens to each of my clicks, as it happens",
        response_class=Response,
        responses={**_STREAM, **problems((401, 429))},
        openapi_extra={"security": [{"bearer": []}]},
    )
    async def live(request: Request) -> Response:
        user_id = parts.reader(request)
        parts.hub.check_room(user_id)
        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(_news(parts.hub, user_id), media_type="text/event-stream", headers=headers)

    return routes


async def _news(hub: Hub, user_id: str) -> AsyncIterator[bytes]:
    stream = hub.subscribe(user_id)
    try:
        yield message_of("hello", {"user_id": user_id, "server_time": now_ms(), "heartbeat_seconds": HEARTBEAT_SECONDS})
        async for message in stream.messages():
            yield message
    finally:
        hub.leave(user_id, stream)
