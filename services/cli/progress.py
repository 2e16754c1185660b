"""Progress of a long job: a bar with rate and time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LINE_EVERY_SECONDS = 10.0


def say(line: str) -> None:
    """One line on standard error, where progress belongs."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def bar(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show how far a job is while the block runs; the block calls what it gets with the steps done so far."""
    started, done = time.monotonic(), 0
    reported_at = started
    console = Console(stderr=True)
    shown = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    times = TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*shown, *times, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total, rate="")

        def advance_to(step: int) -> None:
            nonlocal done, reported_at
            done, now = step, time.monotonic()
            per_second = step / max(now - started, 1e-9)
            progress.update(task, completed=step, rate=f"{per_second:,.0f} {unit}/s")
            if not console.is_terminal and now - reported_at > _LINE_EVERY_SECONDS:
                reported_at = now
                left = (total - step) / max(per_second, 1e-9)
                say(f"{what}: {step:,} of {total:,} {unit}, {per_second:,.0f} {unit}/s, {left:.0f} s left")

        yield advance_to
    if not console.is_terminal:
        seconds = time.monotonic() - started
        say(f"{what}: {done:,} of {total:,} {unit} in {seconds:.1f} s ({done / max(seconds, 1e-9):,.0f} {unit}/s)")
