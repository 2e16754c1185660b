"""Before any route: who may ask at all, and how long every answer took.

The system listens on loopback, where any web page of the user's browser can reach it. So the Host header must name us
(an attacker's name that resolves to 127.0.0.1 does not), a web origin must be our own or configured, and a request that
a foreign page makes without naming its origin (an image, a script) is refused by what the browser says of it.

The paper's own client is a browser extension, whose id differs from browser to browser. So on loopback every extension
may call the paper's endpoints, elsewhere those that are configured. A page cannot claim an extension's origin.
"""

import ipaddress
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.metrics import Metrics
from services.gateway.problems import Refused, failure

log = logging.getLogger(__name__)

# What the paper's own client calls.
PAPER_PATHS: Final = frozenset({"/upload_anilist_profile", "/feedback", "/playlist"})
_EXTENSION: Final = re.compile(r"(chrome|moz|safari-web)-extension://[a-z0-9-]{1,64}")
# A page that a person may come to by a link from anywhere.
PAGES: Final = frozenset({"/", "/docs"})
# YouTube's player refuses to play where it gets no referrer at all.
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
    (b"vary", b"Origin"),
)
_OWN_PAGES_ONLY: Final = (b"cross-origin-resource-policy", b"same-origin")
_PREFLIGHT: Final = {
    "access-control-allow-methods": "GET, POST, PUT",
    "access-control-allow-headers": "authorization, content-type",
    "access-control-max-age": "600",
}
_ASKS_PRIVATE: Final = "access-control-request-private-network"


def host_name(host: str) -> str | None:
    """The name of a Host header without its port, lower case; None when it is not one."""
    if host.startswith("["):
        name, closed, rest = host[1:].partition("]")
        if not closed or (rest and not (rest[0] == ":" and rest[1:].isdecimal())):
            return None
        return name.lower()
    name, colon, port = host.partition(":")
    if not name or (colon and not port.isdecimal()):
        return None
    return name.lower().rstrip(".")


@lru_cache(maxsize=1024)
def is_loopback(name: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Doorman:
    """Decides about Host and Origin. Pure."""

    def __init__(
        self,
        own_host: str,
        allowed_hosts: Iterable[str],
        allowed_origins: Iterable[str],
        paper_extensions: Iterable[str] | None = None,
    ) -> None:
        """`paper_extensions`: those that may call the paper's endpoints; None: every one while bound to loopback."""
        self._hosts = {name.lower() for name in allowed_hosts} | {own_host.lower()}
        self._origins = frozenset(map(_spelled, allowed_origins))
        self._on_loopback = is_loopback(own_host)
        self._extensions = None if paper_extensions is None else frozenset(map(_spelled, paper_extensions))

    def check(self, method: str, path: str, headers: Headers) -> str | None:
        """The foreign origin that may ask, if one is asking. Raises Refused 400, 403 or 421."""
        host = headers.get("host", "")
        self._check_host(host)
        origin = headers.get("origin")
        if origin is not None:
            return self._check_origin(origin, host, path)
        site = headers.get("sec-fetch-site", "none")
        strolled_in = method == "GET" and path in PAGES and headers.get("sec-fetch-mode") == "navigate"
        if site not in ("none", "same-origin") and not strolled_in:
            raise _wrong_origin("a page of another site")
        return None

    def _check_host(self, host: str) -> None:
        name = host_name(host)
        if name is None:
            raise Refused(400, "bad_host", "the request has no readable Host header")
        if not (is_loopback(name) or name in self._hosts or "*" in self._hosts):
            raise Refused(
                421,
                "wrong_host",
                f"this server does not answer for {name[:100]}; "
                "if it should, list it in ANIMUSIC_GATEWAY__ALLOWED_HOSTS",
            )

    def _check_origin(self, origin: str, host: str, path: str) -> str | None:
        own = origin.partition("://")[2].lower() == host.lower() and origin.startswith(("http://", "https://"))
        if own:
            return None
        asking = _spelled(origin)
        if asking in self._origins:
            return origin
        if not _EXTENSION.fullmatch(asking):
            raise _wrong_origin(origin[:100])
        if path in PAPER_PATHS and self._is_papers(asking, host):
            return origin
        raise _wrong_extension(origin, path)

    def _is_papers(self, extension: str, host: str) -> bool:
        if self._extensions is None:
            return self._on_loopback and is_loopback(host_name(host) or "")
        return bool(self._extensions & {extension, extension.partition("://")[2], "*"})


def _spelled(origin: str) -> str:
    return origin.rstrip("/").lower()


def _wrong_origin(who: str, setting: str = "ANIMUSIC_GATEWAY__ALLOWED_ORIGINS") -> Refused:
    return Refused(403, "wrong_origin", f"{who} may not call this server; if it should, list it in {setting}")


def _wrong_extension(origin: str, path: str) -> Refused:
    if path in PAPER_PATHS:
        return _wrong_origin(origin, "ANIMUSIC_GATEWAY__PAPER_EXTENSIONS")
    return _wrong_origin(f"the extension {origin}")


Handler = Callable[[Request], Awaitable[Response]]


class Edge:
    """The ASGI app around all routes."""

    def __init__(
        self, app: ASGIApp, doorman: Doorman, metrics: Metrics, express: Mapping[tuple[str, str], Handler]
    ) -> None:
        """`express`: (method, path) -> the handler of a route that is too hot to pass through the router."""
        self._app = app
        self._doorman = doorman
        self._metrics = metrics
        self._express = express

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, answer, observe."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        answered = _Answered(send)
        try:
            await self._handle(scope, receive, answered)
        except Exception:
            # The server closes the connection by itself where an answer was begun and not ended.
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not answered.status:
                await failure()(scope, receive, answered)
        finally:
            route = answered.express or getattr(scope.get("route"), "path", "none")
            seconds = time.monotonic() - began
            self._metrics.requests.labels(route, scope["method"], answered.status).observe(seconds)

    async def _handle(self, scope: Scope, receive: Receive, send: "_Answered") -> None:
        headers = Headers(scope=scope)
        try:
            send.foreign = self._doorman.check(scope["method"], scope["path"], headers)
        except Refused as refused:
            await refused.response()(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and send.foreign and "access-control-request-method" in headers:
            await _preflight(headers)(scope, receive, send)
            return
        express = self._express.get((scope["method"], scope["path"]))
        if express is None:
            await self._app(scope, receive, send)
            return
        send.express = scope["path"]
        try:
            response = await express(Request(scope, receive))
        except Refused as refused:
            response = refused.response()
        await response(scope, receive, send)


def _preflight(headers: Headers) -> Response:
    """What a browser wants to know before it sends an allowed origin's request."""
    answer = Response(status_code=204, headers=_PREFLIGHT)
    if headers.get(_ASKS_PRIVATE) == "true":
        answer.headers["access-control-allow-private-network"] = "true"
    return answer


class _Answered:
    """`send`, with the headers that every answer carries, and the status that was sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.foreign: str | None = None
        self.express: str | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *_ALWAYS, *self._sharing()]
        await self._send(message)

    def _sharing(self) -> tuple[tuple[bytes, bytes], ...]:
        if self.foreign is None:
            return (_OWN_PAGES_ONLY,)
        return (
            (b"access-control-allow-origin", self.foreign.encode("latin-1")),
            (b"access-control-expose-headers", b"Retry-After"),
        )
