"""`animusic replay warehouse`: the tables of the warehouse built anew from the log, beside the live ones."""

import asyncio
import contextlib
import signal
from typing import Annotated

import httpx
import typer

from services.cli.progress import say
from services.cli.rebuilding import showing
from services.common.settings import Settings
from services.operator.replay.warehouse import WarehouseRebuild
from services.rebuild.engine import Progress
from services.warehouse.rebuild_status import RebuildRequest, Status

_DEFAULT = RebuildRequest()


def command(
    *,
    no_switch: Annotated[
        bool, typer.Option("--no-switch", help="Build and compare only; the same command without it switches.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the former tables as the database animusic_before.")
    ] = False,
    rate: Annotated[float | None, typer.Option(min=1, help="Most records a second, all processes together.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=32, help="Processes that read and decode.")] = _DEFAULT.workers,
    batch: Annotated[
        int, typer.Option(min=100, help="Records that a process holds before it hands over.")
    ] = _DEFAULT.hold_records,
    nice: Annotated[int, typer.Option(min=0, max=19, help="Nice value of these processes.")] = _DEFAULT.nice,
    new: Annotated[bool, typer.Option("--new", help="Begin anew even if one was interrupted.")] = False,
    even_if_different: Annotated[
        bool,
        typer.Option("--even-if-different", help="Switch although they differ: the live ones are known to be wrong."),
    ] = False,
    at: Annotated[
        str | None, typer.Option(help="Address of the warehouse process. Default: the running system's.")
    ] = None,
) -> None:
    """Rebuild the tables of the warehouse from the log, compare them with the live ones, and exchange them.

    Analysts are answered from the live tables all the while. Stop it with Ctrl-C; the same command goes on.
    """
    request = RebuildRequest(
        workers=workers, rate=rate, hold_records=batch, nice=nice, switch=not no_switch, keep=keep,
        even_if_different=even_if_different, new=new,
    )  # fmt: skip
    status = asyncio.run(_follow(Settings(), request, at))
    _print(status, request)
    if status.state != "done" or not (status.switched or (no_switch and status.equal)):
        raise typer.Exit(1)


async def _follow(settings: Settings, request: RebuildRequest, at: str | None) -> Status:
    async with WarehouseRebuild(settings, at) as rebuild:
        with showing("replay warehouse") as tell:
            task = asyncio.ensure_future(rebuild.watch(request, lambda status: tell(_progress(status))))
            for name in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(name, task.cancel)
            try:
                return await task
            except asyncio.CancelledError:
                with contextlib.suppress(httpx.TransportError):
                    await rebuild.stop()
                say("stopped; the same command goes on from there. Nothing was switched.")
                raise KeyboardInterrupt from None


def _progress(status: Status) -> Progress:
    left = status.behind / status.per_second if status.per_second else None
    return Progress(status.phase, status.done, status.total, status.per_second, status.behind, left, status.memory)


def _print(status: Status, request: RebuildRequest) -> None:
    if status.state == "failed":
        say(status.error)
    again = "went on and " if status.went_on else ""
    seconds = max(status.seconds, 1e-9)
    print(
        f"{again}read {status.records:,} records in {status.seconds:.1f} s ({status.records / seconds:,.0f}/s), "
        f"at most {status.memory >> 20} MB in its readers, {status.poison:,} in the dead letters; CPU: engine "
        f"{status.engine_cpu:.1f} s, readers {status.cpu_seconds:.1f} s"
    )
    for table in status.compared:
        same = "equal" if table.next_rows else "both empty"
        verdict = same if table.equal else f"DIFFERENT: {table.live_rows:,} live"
        print(f"  {table.table:<15} {table.next_rows:>12,} rows  {table.digest}  {verdict}")
    if status.compared:
        print(f"compared at equal marks; the live tables took no rows for {status.paused_ms / 1000:.1f} s")
    print(_outcome(status, request))


def _outcome(status: Status, request: RebuildRequest) -> str:
    if status.switched:
        kept = "; the former ones are in the database animusic_before" if request.keep else ""
        return f"switched: the rebuilt tables are live{kept}"
    if status.state == "failed":
        return "nothing was switched"
    if not status.equal:
        return (
            "nothing was switched: they differ. `animusic verify` says in what; if the live ones are wrong, "
            "`animusic replay warehouse --even-if-different` switches to what the log says"
        )
    return "nothing was switched, as asked; `animusic replay warehouse` goes on from here and switches"
