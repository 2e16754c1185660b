"""The composition root of the gateway: parts, routes, server."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Final

import uvicorn
from fastapi import FastAPI

from contracts.tokens import Signer
from services.common.listening import listen
from services.common.settings import Settings
from services.gateway.event_log import EventLog
from services.gateway.host_origin import HostOriginPolicy, is_loopback
from services.gateway.identity import Identity
from services.gateway.live import Hub
from services.gateway.metrics import Metrics
from services.gateway.middleware import HostOriginCheck, RequestMetrics, SecurityHeaders
from services.gateway.parts import Parts
from services.gateway.problems import ANY_PROBLEM, answer_with_problems
from services.gateway.recommender_client import RecommenderClient
from services.gateway.routes import events, live, pages, paper, playlists, profile, sessions, system
from services.gateway.stamp import Stamper

logger = logging.getLogger(__name__)

STOP_SECONDS: Final = 8
KEEP_ALIVE_SECONDS: Final = 30
_ABOUT: Final = "Feedback in, playlists out. Times are milliseconds since the epoch; every error is a Problem."


def build_parts(settings: Settings) -> Parts:
    """Everything that the routes use, not started yet. Raises ValueError when there is no usable signing key."""
    metrics = Metrics()
    signer = Signer(settings.signing_key())
    recommender = RecommenderClient(
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
        event_log=EventLog(settings.kafka, metrics, account_seconds=settings.gateway.account_seconds),
        recommender=recommender,
        hub=Hub(recommender.wait_for, metrics),
    )


def build_app(settings: Settings, made: Parts | None = None) -> FastAPI:
    """The ASGI app; its lifespan starts and stops the parts. It starts without a broker and turns ready with it."""
    parts = made or build_parts(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await parts.recommender.start()
        await parts.event_log.start()
        yield
        parts.hub.close()
        await parts.event_log.close()
        await parts.recommender.close()

    app = FastAPI(
        title="AniMusic",
        version="1",
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=ANY_PROBLEM,
    )
    app.state.parts = parts
    of_paper = paper.router if paper_is_on(settings) else paper.switched_off
    for part in (events, playlists, sessions, profile, live, system, pages):
        app.include_router(part.router)
    app.include_router(of_paper)
    app.mount(pages.ASSETS, pages.docs_assets())
    answer_with_problems(app)
    asked = settings.gateway
    policy = HostOriginPolicy(settings.host, asked.allowed_hosts, asked.allowed_origins, asked.paper_extensions)
    # The last one added is the outermost.
    app.add_middleware(HostOriginCheck, policy=policy)
    app.add_middleware(RequestMetrics, metrics=parts.metrics)
    app.add_middleware(SecurityHeaders)
    return app


def paper_is_on(settings: Settings) -> bool:
    """Whether the paper's endpoints are served: as set, else only on loopback."""
    asked = settings.gateway.paper_endpoints
    return is_loopback(settings.host) if asked is None else asked


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
    logger.info(
        "gateway on http://%s:%d (%s)", *listening.getsockname()[:2], type(asyncio.get_running_loop()).__module__
    )
    await server.serve([listening])
