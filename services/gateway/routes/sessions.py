"""POST /v1/sessions: a guest today. A verified identity will be another body of this route, and no other change."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from contracts.http import NewSession, SessionAnswer
from services.common.clock import now_ms
from services.gateway.bodies import read_model
from services.gateway.openapi import documented, json_body
from services.gateway.parts import Parts


def router(parts: Parts) -> APIRouter:
    """`POST /v1/sessions`."""
    routes = APIRouter(tags=["sessions"])

    @routes.post(
        "/v1/sessions",
        summary="Open a session as a new guest",
        **documented(
            201, SessionAnswer, body=json_body(NewSession, {"guest": True}), fails=(400, 413, 415, 429), bearer=False
        ),
    )
    async def open_session(request: Request) -> Response:
        await read_model(request, NewSession)
        now = now_ms()
        token, session = parts.identity.open_guest(request.client.host if request.client else "unknown", now)
        answer = SessionAnswer(token=token, user_id=session.user_id, expires_at=session.expires_at, server_time=now)
        return Response(answer.model_dump_json(), 201, media_type="application/json")

    return routes
