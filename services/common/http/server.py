"""The HTTP server of every service: uvicorn on its own socket, in the service's event loop.

`HealthServer` serves `/healthz`, `/readyz` and `/metrics` of a process without other routes.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from services.common.http.listening import listen
from services.common.process.identity import ProcessIdentity


class HttpServer(uvicorn.Server):
    """Listens from `start` on. Signals are left to the service: see `stop_on_signals`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        stop_seconds: int,
        keep_alive_seconds: int = 5,
        lifespan: Literal["on", "off"] = "off",
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        """`stop_seconds`: how long requests may take after `stop`; `on_stop` is called before, to end streams."""
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan=lifespan,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=keep_alive_seconds,
            timeout_graceful_shutdown=stop_seconds,
        )
        super().__init__(config)
        self._on_stop = on_stop
        self._serving: asyncio.Task[None] | None = None

    def start(self, host: str, port: int, setting: str) -> int:
        """Listen, and return the port (the system chooses one for 0). `setting`: the variable that chooses it.

        Raises CannotListen when the port cannot be had.
        """
        listening = listen(host, port, setting)
        chosen: int = listening.getsockname()[1]
        self._serving = asyncio.create_task(self.serve([listening]))
        return chosen

    @property
    def serving(self) -> "asyncio.Task[None]":
        """Ends when the server has stopped. Raises RuntimeError before `start`."""
        if self._serving is None:
            raise RuntimeError("the server was not started")
        return self._serving

    def stop(self) -> None:
        """Accept nothing more, and finish what is under way; `serving` then ends."""
        if self._on_stop is not None:
            self._on_stop()
        self.should_exit = True

    async def close(self) -> None:
        """Stop, and wait for the end; nothing to do where it was not started."""
        self.stop()
        if self._serving is not None:
            await self._serving

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn would raise the signal again when it has stopped, before the service could close its parts."""
        yield


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[], object]) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop` while the block runs."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


NotReady = Callable[[], str | None]
Details = Callable[[], dict[str, Any]]
_STOP_SECONDS: Final = 1


class HealthServer:
    """Start it first, so that it can answer "not ready" during the start.

    `identity`: who answers. `not_ready()` says in one sentence why the process cannot do its work now, or returns
    None; `standing()` what else the body of /readyz shall say (JSON).
    """

    def __init__(
        self, identity: ProcessIdentity, not_ready: NotReady, registry: CollectorRegistry, details: Details = dict
    ) -> None:
        async def readyz(_: Request) -> Response:
            ready, body = readiness(identity, not_ready, details)
            return JSONResponse(body, 200 if ready else 503)

        async def healthz(_: Request) -> Response:
            return JSONResponse({"status": "ok"})

        async def metrics(_: Request) -> Response:
            return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

        async def not_found(_: Request, __: Exception) -> Response:
            return JSONResponse({"error": "not_found", "message": "try /readyz or /metrics"}, 404)

        routes = [Route("/readyz", readyz), Route("/healthz", healthz), Route("/metrics", metrics)]
        app = Starlette(routes=routes, exception_handlers={404: not_found})
        self._server = HttpServer(app, stop_seconds=_STOP_SECONDS)

    async def start(self, port: int, setting: str, host: str = "127.0.0.1") -> int:
        """Listen and return the port (the system chooses one for 0). `setting`: the variable that chooses it.

        Raises CannotListen when the port cannot be had.
        """
        return self._server.start(host, port, setting)

    async def close(self) -> None:
        """Stop listening."""
        await self._server.close()


def readiness(identity: ProcessIdentity, not_ready: NotReady, details: Details) -> tuple[bool, dict[str, Any]]:
    """Whether a process is ready, and the body of its /readyz.

    The body says `status`, `reason` when it is not, who answers (process_identity.py), and how far it is.
    """
    reason = not_ready()
    body = {"status": "ready"} if reason is None else {"status": "not ready", "reason": reason}
    return reason is None, {**body, **identity.as_dict(), **details()}
