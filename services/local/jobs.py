"""Jobs: catalogue imports and model builds, as children of the supervisor."""

import asyncio
import contextlib
import time
from typing import Final

from services.local.errors import PartFailed
from services.local.keeper import how_it_ended
from services.local.layout import Layout
from services.local.logs import rotate, tail
from services.local.parts import animusic, child_environment
from services.local.processes.children import ended, spawn

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
        status = await ended(child)
    except asyncio.CancelledError:
        child.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended(child), STOP_S)
        child.kill()
        raise
    finally:
        pidfile.unlink(missing_ok=True)
    if status:
        raise PartFailed(f"`{shown}` {how_it_ended(status)}. {tail(log)}", status)
    return time.monotonic() - began
