"""How a long job shows itself: a bar with its rate on a terminal, one line at the end everywhere else."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


def say(line: str) -> None:
    """One line on standard error, where progress belongs."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def bar(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show how far a job is while the block runs; the block calls what it gets with the steps done so far."""
    started, done = time.monotonic(), 0
    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    rate = TextColumn("{task.fields[rate]}")
    with Progress(*columns, rate, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total, rate="")

        def advance_to(step: int) -> None:
            nonlocal done
            done = step
            per_second = step / max(time.monotonic() - started, 1e-9)
            progress.update(task, completed=step, rate=f"{per_second:,.0f} {unit}/s")

        yield advance_to
    if not console.is_terminal:
        seconds = time.monotonic() - started
        say(f"{what}: {done:,} of {total:,} {unit} in {seconds:.1f} s ({done / max(seconds, 1e-9):,.0f} {unit}/s)")
