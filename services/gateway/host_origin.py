"""The host/origin policy: which requests the gateway answers.

The system listens on loopback, where any web page in the user's browser can reach it. So the Host header must name this
server, which rejects an attacker's name that resolves to 127.0.0.1. A web origin must be the server's own or
configured. A foreign page's request without an Origin header (an image, a script) is rejected by its Sec-Fetch headers.

The paper's own client is a browser extension, whose id differs from browser to browser. So on loopback every extension
may call the paper's endpoints, elsewhere the configured ones. A page cannot send an extension's origin.
"""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from starlette.datastructures import Headers

from services.gateway.problems import Refused

# The endpoints of the paper's own client.
PAPER_PATHS: Final = frozenset({"/upload_anilist_profile", "/feedback", "/playlist"})
_EXTENSION: Final = re.compile(r"(chrome|moz|safari-web)-extension://[a-z0-9-]{1,64}")
# Any site may link to these pages.
PAGES: Final = frozenset({"/", "/docs"})


def host_name(host: str) -> str | None:
    """The name of a Host header without its port, lower case; None if it is invalid."""
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


class HostOriginPolicy:
    """Decides about the Host and Origin headers. Pure."""

    def __init__(
        self,
        own_host: str,
        allowed_hosts: Iterable[str],
        allowed_origins: Iterable[str],
        paper_extensions: Iterable[str] | None = None,
    ) -> None:
        """`paper_extensions`: extensions that may call the paper's endpoints; None: all, while bound to loopback."""
        self._hosts = {name.lower() for name in allowed_hosts} | {own_host.lower()}
        self._origins = frozenset(map(_normalised, allowed_origins))
        self._on_loopback = is_loopback(own_host)
        self._extensions = None if paper_extensions is None else frozenset(map(_normalised, paper_extensions))

    def check(self, method: str, path: str, headers: Headers) -> str | None:
        """The allowed foreign origin of a request, None for our own. Raises Refused 400, 403 or 421."""
        host = headers.get("host", "")
        self._check_host(host)
        origin = headers.get("origin")
        if origin is not None:
            return self._check_origin(origin, host, path)
        site = headers.get("sec-fetch-site", "none")
        top_level = method == "GET" and path in PAGES and headers.get("sec-fetch-mode") == "navigate"
        if site not in ("none", "same-origin") and not top_level:
            raise _wrong_origin("a page of another site")
        return None

    def _check_host(self, host: str) -> None:
        name = host_name(host)
        if name is None:
            raise Refused(400, "bad_host", "the request has no valid Host header")
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
        asking = _normalised(origin)
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


def _normalised(origin: str) -> str:
    return origin.rstrip("/").lower()


def _wrong_origin(who: str, setting: str = "ANIMUSIC_GATEWAY__ALLOWED_ORIGINS") -> Refused:
    return Refused(403, "wrong_origin", f"{who} may not call this server; if it should, list it in {setting}")


def _wrong_extension(origin: str, path: str) -> Refused:
    if path in PAPER_PATHS:
        return _wrong_origin(origin, "ANIMUSIC_GATEWAY__PAPER_EXTENSIONS")
    return _wrong_origin(f"the extension {origin}")
