"""`animusic run`: the whole system on this machine."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console

from services.common.settings import Settings
from services.local.layout import Layout
from services.local.locking import locked
from services.local.supervisor import Supervisor

_SCALED = ("profiles", "recommender")


def command(
    scale: Annotated[
        list[str] | None,
        typer.Option(metavar="PART=N", help=f"Run N processes of a part ({', '.join(_SCALED)}); may be repeated."),
    ] = None,
) -> None:
    """Start the whole system on this machine and keep it running until Ctrl-C.

    Kafka, Valkey and the four services are children of this command and end with it; everything is kept in
    ANIMUSIC_DATA_DIR. On the first start it loads a catalogue (ANIMUSIC_LOCAL__CATALOGUE: sample, synthetic, or the
    path of a CSV) and builds the models; the next start goes on from the same data.
    """
    for asked in scale or ():
        # The supervisor and its children read the settings again once the addresses are known.
        os.environ.update([_scaled(asked)])
    layout = Layout.of(Settings().data_dir)
    with locked(layout):
        # Settings would read the addresses that a killed run left there.
        layout.endpoints.unlink(missing_ok=True)
        supervisor = Supervisor(Settings(data_dir=layout.root), layout, Console())
        asyncio.run(_until_stopped(supervisor))


def _scaled(asked: str) -> tuple[str, str]:
    """`profiles=3` as a variable of the environment. Raises BadParameter with what is taken."""
    part, _, number = asked.partition("=")
    if part not in _SCALED or not number.isdigit():
        raise typer.BadParameter(f"{asked!r}: write PART=N with a part of {', '.join(_SCALED)}", param_hint="--scale")
    return f"ANIMUSIC_{part.upper()}__PROCESSES", number


async def _until_stopped(supervisor: Supervisor) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, _stop_or_kill(stop, supervisor))
    await supervisor.run(stop)


def _stop_or_kill(stop: asyncio.Event, supervisor: Supervisor) -> Callable[[], None]:
    def ask() -> None:
        if not stop.is_set():
            stop.set()
            return
        print("killed every process at the second signal", file=sys.stderr)
        supervisor.kill()
        os._exit(130)

    return ask
