"""`animusic serve …`: one service in the foreground, as the supervisor, Compose and Kubernetes run it."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import typer

from services.common.process.startup import configure_logging
from services.common.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="Run one service in the foreground until SIGTERM or Ctrl-C. Its addresses come from the settings.",
)


@app.command()
def gateway() -> None:
    """HTTP in, log out: the one public port (ANIMUSIC_HOST, ANIMUSIC_PORT)."""
    from services.gateway.app import serve

    _run(serve)


@app.command()
def profiles() -> None:
    """Log in, Redis out: what each listener has heard and liked."""
    from services.profiles.app import serve

    _run(serve)


@app.command()
def warehouse() -> None:
    """Log in, ClickHouse out: what analysts ask, and on one machine the read-only SQL endpoint."""
    from services.warehouse.app import serve

    _run(serve)


@app.command()
def recommender() -> None:
    """Profile and vectors in, playlist out; never reachable from outside."""
    from services.recommender.app import serve

    _run(serve)


@app.command()
def probe() -> None:
    """Count the log for the ledger, and measure freshness as a synthetic listener; one a system."""
    from services.operator.ledger.probe import serve

    _run(serve)


def _run(serve: Callable[[Settings], Awaitable[None]]) -> None:
    """Settings and logging come first, so that a wrong setting fails first."""
    from services.common.process.loop import run

    settings = Settings()
    configure_logging(settings.log_level)

    async def until_stopped() -> None:
        await serve(settings)

    with suppress(KeyboardInterrupt):
        run(until_stopped())
