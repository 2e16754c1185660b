"""The composition root of the gateway: parts, routes, server."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Final

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from contracts.tokens import Signer
from services.common.listening import listen
from services.common.settings import Settings
from services.gateway.edge import Doorman, Edge, is_loopback
from services.gateway.identity import Identity
from services.gateway.live import Hub
from services.gateway.log import Log
from services.gateway.metrics import Metrics
from services.gateway.openapi import describe
from services.gateway.parts import Parts
from services.gateway.problems import Refused, failure, problem
from services.gateway.recommender import Recommender
from services.gateway.routes import docs, events, live, paper, playlists, profile, sessions, system
from services.gateway.stamp import Stamper

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 8
KEEP_ALIVE_SECONDS: Final = 30
_ABOUT: Final = "Feedback in, playlists out. Times are milliseconds since the epoch; every error is a Problem."


def build_parts(settings: Settings) -> Parts:
    """Everything that the routes use, not started yet. Raises ValueError when there is no usable signing key."""
    metrics = Metrics()
    signer = Signer(settings.signing_key())
    recommender = Recommender(
        settings.gateway.recommender_urls,
        timeout_seconds=settings.gateway.recommender_timeout_seconds,
        metrics=metrics,
        installation=settings.installation,
    )
    return Parts(
        settings=settings,
        metrics=metrics,
        signer=signer,
        stamper=Stamper(signer),
        identity=Identity(signer, settings.gateway),
        log=Log(settings.kafka, metrics, account_seconds=settings.gateway.account_seconds),
        recommender=recommender,
        hub=Hub(recommender.wait_for, metrics),
    )


def build_app(settings: Settings, made: Parts | None = None) -> FastAPI:
    """The ASGI app; its lifespan starts and stops the parts. It starts without a broker and turns ready with it."""
    parts = made or build_parts(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await parts.recommender.start()
        await parts.log.start()
        yield
        parts.hub.close()
        await parts.log.close()
        await parts.recommender.close()

    asked = settings.gateway
    doorman = Doorman(settings.host, asked.allowed_hosts, asked.allowed_origins, asked.paper_extensions)
    express = {
        ("POST", "/v1/events"): partial(events.post, parts),
        ("POST", "/v1/playlists"): partial(playlists.post, parts),
    }

    class App(FastAPI):
        def build_middleware_stack(self) -> ASGIApp:
            # The edge goes around all else, and the hot routes through nothing else.
            return Edge(super().build_middleware_stack(), doorman=doorman, metrics=parts.metrics, express=express)

    app = App(title="AniMusic", version="1", description=_ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(docs.router(app.title, str(app.openapi_url)))
    for part in (sessions, events, profile, playlists, live, system):
        app.include_router(part.router(parts))
    app.include_router(paper.router(parts) if paper_is_on(settings) else paper.switched_off())
    _answer_problems(app)
    describe(app)
    return app


def paper_is_on(settings: Settings) -> bool:
    """Whether the paper's endpoints are served: as set, else only on loopback."""
    asked = settings.gateway.paper_endpoints
    return is_loopback(settings.host) if asked is None else asked


def _answer_problems(app: FastAPI) -> None:
    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return error.response()

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return problem(400, "malformed", f"{first['loc'][-1]}: {first['msg']}")

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "wrong_method"}.get(error.status_code, "failed")
        return problem(error.status_code, code, f"{error.detail}; /docs lists every route", dict(error.headers or {}))

    async def failed(_: Request, __: Exception) -> Response:
        return failure()

    app.add_exception_handler(Exception, failed)
    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


class Server(uvicorn.Server):
    """uvicorn, which ends live streams when it is told to stop, and then returns without raising the signal."""

    def __init__(self, app: FastAPI, parts: Parts) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        super().__init__(config)
        self._hub = parts.hub

    def stop(self) -> None:
        """Answer what is under way, flush, return."""
        self._hub.close()
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop the server."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then answer what is under way, flush the log, and return.

    Run it on uvloop. Raises CannotListen when the port is taken, ValueError when there is no usable signing key.
    """
    parts = build_parts(settings)
    listening = listen(settings.host, settings.port, "ANIMUSIC_PORT")
    server = Server(build_app(settings, parts), parts)
    log.info("gateway on http://%s:%d (%s)", *listening.getsockname()[:2], type(asyncio.get_running_loop()).__module__)
    await server.serve([listening])
