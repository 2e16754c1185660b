"""`animusic models watch`: follows the catalogue topic and rebuilds stale models in child processes."""

import asyncio
import contextlib
import logging
import signal
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from model_jobs.rebuild_worker import Pace, Watch
from services.common.http.server import HealthServer
from services.common.kafka import wait_for_broker
from services.common.process.identity import ProcessIdentity
from services.common.process.startup import configure_logging
from services.common.settings import Settings
from services.local.contents import Contents, catalogue_state
from services.local.errors import PartFailed
from services.local.jobs import run_job
from services.local.layout import Layout

_log = logging.getLogger("animusic.watch")
_JOB = "models-watch"


def command(
    every: Annotated[
        float | None,
        typer.Option(
            min=0.1, metavar="SECONDS", help="How long the catalogue must be quiet. [default: the setting, 5]"
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Rebuild what is stale now, and end.")] = False,
) -> None:
    """Rebuild stale models whenever the catalogue changes, until SIGTERM or Ctrl-C.

    Arms that are live keep their parameters; tf-idf and node2vec are built where they are missing. A rebuild that fails
    leaves what is live, and is tried again later.
    """
    settings = Settings()
    configure_logging(settings.log_level)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_once(settings) if once else _watch(settings, every or settings.models.watch_quiet_seconds))


async def _once(settings: Settings) -> None:
    await wait_for_broker(settings.kafka)
    failure = await _rebuild(Layout.of(settings.data_dir))
    if failure is not None:
        raise RuntimeError(f"{failure}. What was live before stays live.")


async def _watch(settings: Settings, quiet: float) -> None:
    """Watch and answer /readyz until a signal comes."""
    registry, layout = CollectorRegistry(), Layout.of(settings.data_dir)
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    pace = Pace(quiet, max(settings.models.watch_at_most_seconds, quiet))
    await wait_for_broker(settings.kafka)
    watch = Watch(
        settings.kafka,
        lambda: _rebuild(layout),
        pace,
        registry,
        done=await _known(settings, layout),
        shelf=lambda: _shelf(settings.vectors_dir),
    )
    health = HealthServer(ProcessIdentity.of("watch", settings), lambda: watch.trouble, registry)
    port = await health.start(settings.models.watch_port, "ANIMUSIC_MODELS__WATCH_PORT", settings.models.watch_host)
    _log.info("watching the catalogue; health and metrics on http://%s:%d", settings.models.watch_host, port)
    running = asyncio.create_task(watch.run())
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, running.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await running
    finally:
        await health.close()


async def _known(settings: Settings, layout: Layout) -> int | None:
    """The end of the catalogue topic that the supervisor's own builds reflect; None where it built nothing."""
    built_from = Contents(layout).built_from
    return built_from.end if built_from == await catalogue_state(settings.kafka) else None


def _shelf(vectors_dir: Path) -> frozenset[str]:
    # As published_models counts them, without what that imports.
    return frozenset(path.parent.name for path in vectors_dir.glob("[!.]*/model.json"))


async def _rebuild(layout: Layout) -> str | None:
    try:
        await run_job(_JOB, ("models", "build"), layout)
    except PartFailed as failure:
        return str(failure)
    return None
