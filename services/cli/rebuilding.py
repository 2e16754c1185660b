"""Progress of a rebuild, and how it is stopped: shared by `animusic replay` and `animusic generations`."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from services.cli.progress import say
from services.common.process import loop
from services.common.process.startup import configure_logging, lower_priority
from services.common.redis import connect
from services.common.settings import Settings
from services.operator.replay.profiles import Outcome, Rebuild, RebuildOptions
from services.rebuild import engine

T = TypeVar("T")
_LINE_SECONDS = 5.0


def rebuild(settings: Settings, options: RebuildOptions) -> Outcome:
    """Run a rebuild with a progress bar until it is done; Ctrl-C and SIGTERM stop it where it can go on."""
    lower_priority(options.nice)
    configure_logging("WARNING" if settings.log_level == "INFO" else settings.log_level)

    async def run(tell: Callable[[engine.Progress], None]) -> Outcome:
        redis = connect(settings.redis)
        try:
            return await Rebuild(settings, redis, options, tell).run()
        finally:
            await redis.aclose()

    with showing(options.what) as tell:
        try:
            return loop.run(_until_signal(run(tell)))
        except asyncio.CancelledError:
            say(f"stopped; the same command goes on from there. {'' if options.keep else 'Nothing was switched.'}")
            raise KeyboardInterrupt from None


async def _until_signal(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    for name in (signal.SIGINT, signal.SIGTERM):
        # Loops on Windows know none; there Ctrl-C is what asyncio.run makes of it.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(name, task.cancel)
    return await task


@contextmanager
def showing(what: str) -> Iterator[Callable[[engine.Progress], None]]:
    """A bar with rate, lag and time left on a terminal; elsewhere a line every five seconds and at each new phase."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(what).tell
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}")
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task(what, total=None, said="")

        def tell(now: engine.Progress) -> None:
            progress.update(task, description=now.phase, completed=now.done, total=now.total or None, said=_said(now))

        yield tell


class _Lines:
    def __init__(self, what: str) -> None:
        self._what = what
        self._phase = ""
        self._at = 0.0

    def tell(self, now: engine.Progress) -> None:
        if now.phase == self._phase and time.monotonic() - self._at < _LINE_SECONDS:
            return
        self._phase, self._at = now.phase, time.monotonic()
        say(f"{self._what}: {now.phase}, {_said(now)}")


def _said(now: engine.Progress) -> str:
    done = f"{now.done:,} of {now.total:,}"
    if not now.memory:
        return done
    left = "" if now.seconds_left is None else f", {now.seconds_left:.0f} s left"
    return f"{done}, {now.per_second:,.0f} records/s, {now.behind:,} behind{left}, {now.memory >> 20} MB"
