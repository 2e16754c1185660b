"""Commands that end by themselves: catalogue imports and model builds, as children of the supervisor."""

import asyncio
import time
from typing import Final

from services.local.engines.children import spawn
from services.local.errors import PartFailed
from services.local.keeper import how_it_ended
from services.local.layout import Layout
from services.local.logs import rotate, tail
from services.local.parts import animusic, child_environment

POLL_S: Final = 0.05
STOP_S: Final = 5.0


async def run_job(name: str, arguments: tuple[str, ...], layout: Layout) -> float:
    """Run `animusic <arguments>` with its output in the log `name`; the seconds that it took.

    Raises PartFailed with the end of that log when it fails. Cancelled, it ends the child before it returns.
    """
    return await run_to_end(name, animusic(*arguments), f"animusic {' '.join(arguments)}", layout)


async def run_to_end(name: str, command: list[str], shown: str, layout: Layout) -> float:
    """`run_job` for any command; errors call it `shown`."""
    log, pidfile, began = layout.log(name), layout.pidfile(name), time.monotonic()
    rotate(log)
    child = spawn(command, child_environment(layout), log, pidfile=pidfile)
    try:
        while (status := child.poll()) is None:  # noqa: ASYNC110 - a process tells nobody that it ended
            await asyncio.sleep(POLL_S)
    except asyncio.CancelledError:
        child.terminate()
        try:
            await asyncio.to_thread(child.wait, STOP_S)
        finally:
            child.kill()
        raise
    finally:
        pidfile.unlink(missing_ok=True)
    if status:
        raise PartFailed(f"`{shown}` {how_it_ended(status)}. {tail(log)}", status)
    return time.monotonic() - began
