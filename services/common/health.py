"""`/healthz`, `/readyz` and `/metrics` for a process without an HTTP surface of its own."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from services.common.listening import listen
from services.common.process_identity import ProcessIdentity

NotReady = Callable[[], str | None]
Standing = Callable[[], dict[str, Any]]
_REQUEST_SECONDS = 5.0


class HealthServer:
    """A tiny HTTP/1.1 server: one GET a connection. Start it before the rest, so that "not yet" can be said.

    `identity`: who answers. `not_ready()` says in one sentence why the process cannot do its work now, or returns
    None; `standing()` what else the body of /readyz shall say (JSON).
    """

    def __init__(
        self, identity: ProcessIdentity, not_ready: NotReady, registry: CollectorRegistry, standing: Standing = dict
    ) -> None:
        self._identity = identity
        self._not_ready = not_ready
        self._standing = standing
        self._registry = registry
        self._server: asyncio.Server | None = None

    async def start(self, port: int, setting: str, host: str = "127.0.0.1") -> int:
        """Listen and return the port (the system chooses one for 0). `setting`: the variable that chooses it.

        Raises CannotListen when the port cannot be had.
        """
        self._server = await asyncio.start_server(self._serve, sock=listen(host, port, setting))
        chosen: int = self._server.sockets[0].getsockname()[1]
        return chosen

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _REQUEST_SECONDS)
            status, kind, body = self._answer(head.split(b"\r\n", 1)[0].split(b" "))
            writer.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        writer.close()

    def _answer(self, request_line: list[bytes]) -> tuple[HTTPStatus, str, bytes]:
        path = request_line[1].split(b"?")[0] if len(request_line) > 1 else b""
        if path == b"/metrics":
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        if path == b"/healthz":
            return HTTPStatus.OK, "application/json", b'{"status": "ok"}'
        if path == b"/readyz":
            return self._readiness()
        return HTTPStatus.NOT_FOUND, "application/json", b'{"error": "not_found", "message": "try /readyz or /metrics"}'

    def _readiness(self) -> tuple[HTTPStatus, str, bytes]:
        ready, said = readiness(self._identity, self._not_ready, self._standing)
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", json.dumps(said).encode()


def readiness(identity: ProcessIdentity, not_ready: NotReady, standing: Standing) -> tuple[bool, dict[str, Any]]:
    """Whether a process is ready, and the body of its /readyz.

    The body says `status`, `reason` when it is not, who answers (process_identity.py), and how far it is.
    """
    reason = not_ready()
    said = {"status": "ready"} if reason is None else {"status": "not ready", "reason": reason}
    return reason is None, {**said, **identity.said(), **standing()}
