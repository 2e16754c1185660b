"""`/healthz`, `/readyz` and `/metrics` for a process without an HTTP surface of its own."""

from collections.abc import Callable
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.common.http.server import HttpServer
from services.common.process.identity import ProcessIdentity

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
