"""POST /v1/sessions opens a guest's session. A verified identity will be another body of this route."""

from typing import Annotated

from fastapi import APIRouter, Body
from starlette.requests import Request

from contracts.http import NewSession, SessionAnswer
from services.common.process.clock import now_ms
from services.gateway.bodies import JsonRoute
from services.gateway.parts import GatewayParts
from services.gateway.problems import problems

router = APIRouter(tags=["sessions"], route_class=JsonRoute)


@router.post("/v1/sessions", status_code=201, responses=problems(400, 413, 415, 429))
async def open_session(
    request: Request, parts: GatewayParts, _: Annotated[NewSession, Body(examples=[{"guest": True}])]
) -> SessionAnswer:
    """Open a session as a new guest."""
    now = now_ms()
    token, session = parts.identity.open_guest(request.client.host if request.client else "unknown", now)
    return SessionAnswer(token=token, user_id=session.user_id, expires_at=session.expires_at, server_time=now)
