"""Pure ASGI middleware around every route: security headers, metrics and the 500, the host/origin policy."""

import logging
import time
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.host_origin import HostOriginPolicy
from services.gateway.metrics import Metrics
from services.gateway.problems import Refused, problem

logger = logging.getLogger(__name__)

# YouTube's player does not play without a referrer.
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
    (b"vary", b"Origin"),
)
_OWN_PAGES_ONLY: Final = (*_ALWAYS, (b"cross-origin-resource-policy", b"same-origin"))
_EXPOSED: Final = (b"access-control-expose-headers", b"Retry-After")
_PREFLIGHT: Final = {
    "access-control-allow-methods": "GET, POST, PUT",
    "access-control-allow-headers": "authorization, content-type",
    "access-control-max-age": "600",
}
_ASKS_PRIVATE: Final = "access-control-request-private-network"
# Scope key of the allowed foreign origin.
_FOREIGN: Final = "animusic.foreign_origin"


class SecurityHeaders:
    """Adds the security headers to every answer, and the CORS headers for an allowed foreign origin."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_headers_for(scope.get(_FOREIGN))]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class RequestMetrics:
    """Measures every answer by route, method and status. An unexpected exception becomes a 500 without its details."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer and measure."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            # If the answer has begun already, the server closes the connection.
            if not status:
                failed = problem(500, "failed", "the server failed; see its log for the cause")
                await failed(scope, receive, send_and_note)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, scope["method"], status).observe(time.monotonic() - began)


class HostOriginCheck:
    """Rejects requests by the host/origin policy, and answers preflights."""

    def __init__(self, app: ASGIApp, policy: HostOriginPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            foreign = self._policy.check(scope["method"], scope["path"], headers)
        except Refused as refused:
            await refused.response()(scope, receive, send)
            return
        if foreign is not None:
            scope[_FOREIGN] = foreign
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                await _preflight(headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _headers_for(foreign: str | None) -> tuple[tuple[bytes, bytes], ...]:
    if foreign is None:
        return _OWN_PAGES_ONLY
    return (*_ALWAYS, (b"access-control-allow-origin", foreign.encode("latin-1")), _EXPOSED)


def _preflight(headers: Headers) -> Response:
    """The answer to a preflight of an allowed origin."""
    answer = Response(status_code=204, headers=_PREFLIGHT)
    if headers.get(_ASKS_PRIVATE) == "true":
        answer.headers["access-control-allow-private-network"] = "true"
    return answer
