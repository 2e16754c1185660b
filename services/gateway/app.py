"""The composition root of the gateway: parts, routes, server."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator
from typing import Final

from fastapi import FastAPI

from contracts.tokens import Signer
from services.common.http.server import HttpServer, stop_on_signals
from services.common.settings import Settings
from services.gateway.event_log import EventLog
from services.gateway.host_origin import HostOriginPolicy, is_loopback
from services.gateway.identity import Identity
from services.gateway.live import Hub
from services.gateway.metrics import Metrics
from services.gateway.middleware import HostOriginCheck, RequestMetrics, SecurityHeaders
from services.gateway.parts import Parts
from services.gateway.problems import answer_with_problems
from services.gateway.recommender_client import RecommenderClient
from services.gateway.routes import events, live, pages, paper, playlists, profile, sessions, system
from services.gateway.stamp import Stamper

logger = logging.getLogger(__name__)

STOP_SECONDS: Final = 8
KEEP_ALIVE_SECONDS: Final = 30
# Objects that Python makes before it looks for cycles. FastAPI leaves some behind with every request; at Python's own
# threshold the search took a tenth of the gateway's CPU.
COLLECT_AFTER: Final = 20_000
_ABOUT: Final = (
    "Accepts feedback and serves playlists. Times are milliseconds since the epoch; every error is a Problem."
)


def build_parts(settings: Settings) -> Parts:
    """Everything that the routes use, not started yet. Raises ValueError if the signing key is missing or unusable."""
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
    """The ASGI app; its lifespan starts and stops the parts. It starts without a broker and is ready with one."""
    parts = made or build_parts(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await parts.recommender.start()
        await parts.event_log.start()
        yield
        parts.hub.close()
        await parts.event_log.close()
        await parts.recommender.close()

    of_paper = paper.router if paper_is_on(settings) else paper.switched_off
    routers = (events, playlists, sessions, profile, live, system, pages)
    app = FastAPI(
        title="AniMusic",
        version="1",
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # In one list, the hottest first: FastAPI matches the routes of an included router twice.
        routes=[*(route for part in routers for route in part.router.routes), *of_paper.routes],
    )
    app.state.parts = parts
    app.mount(pages.ASSETS, pages.docs_assets())
    answer_with_problems(app)
    asked = settings.gateway
    policy = HostOriginPolicy(settings.host, asked.allowed_hosts, asked.allowed_origins, asked.paper_extensions)
    # The middleware that is added last is the outermost.
    app.add_middleware(HostOriginCheck, policy=policy)
    app.add_middleware(RequestMetrics, metrics=parts.metrics)
    app.add_middleware(SecurityHeaders)
    return app


def paper_is_on(settings: Settings) -> bool:
    """Whether the paper's endpoints are served: by the setting; without it, only on loopback."""
    asked = settings.gateway.paper_endpoints
    return is_loopback(settings.host) if asked is None else asked


def build_server(settings: Settings, parts: Parts) -> HttpServer:
    """The server of the app. On stop it ends the live streams."""
    return HttpServer(
        build_app(settings, parts),
        stop_seconds=STOP_SECONDS,
        keep_alive_seconds=KEEP_ALIVE_SECONDS,
        lifespan="on",
        on_stop=parts.hub.close,
    )


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then finish the requests under way, flush the log, and return.

    Run it on uvloop. Raises CannotListen when the port is in use, ValueError if the signing key is missing or unusable.
    """
    gc.set_threshold(COLLECT_AFTER)
    server = build_server(settings, build_parts(settings))
    with stop_on_signals(server.stop):
        port = server.start(settings.host, settings.port, "ANIMUSIC_PORT")
        loop = type(asyncio.get_running_loop()).__module__
        logger.info("gateway on http://%s:%d (%s)", settings.host, port, loop)
        await server.serving
