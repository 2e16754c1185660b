"""Progress of a model build: its step, and for a step that counts a bar with rate and time left."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from model_jobs.model import Report
from services.cli.progress import say

# Without a terminal, a long step prints a line this often.
_LINE_EVERY_SECONDS = 10.0


class Pace:
    """The rate of the current step of a build. Times are seconds of any clock."""

    def __init__(self) -> None:
        self._what, self._began, self._from = "", 0.0, 0

    def at(self, what: str, done: int, steps: int, now: float) -> str:
        """Rate and time left of a step; "" while they are unknown."""
        if what != self._what:
            self._what, self._began, self._from = what, now, done
        if done <= self._from or now <= self._began:
            return ""
        rate = (done - self._from) / (now - self._began)
        return f"{done:,} of {steps:,}, {_number(rate)}/s, {_clock((steps - done) / rate)} left"


@contextmanager
def shown(arm: str) -> Iterator[Report]:
    """Show a build while the block runs; the block gives the build what it gets."""
    console, pace = Console(stderr=True), Pace()
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[pace]}")
    reported_at, waited = time.monotonic(), False
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal, transient=True
    ) as bar:
        task = bar.add_task(arm, total=None, pace="")

        def report(what: str, done: int, steps: int) -> None:
            nonlocal reported_at, waited
            now = time.monotonic()
            going = pace.at(what, done, steps, now)
            # A step without a count gets a bar without an end.
            bar.update(task, description=f"{arm}: {what}", completed=done, total=steps if done else None, pace=going)
            if what.startswith("waiting") and not waited:
                waited = True
                say(f"{arm}: {what}")
            if going and not console.is_terminal and now - reported_at > _LINE_EVERY_SECONDS:
                reported_at = now
                say(f"{arm}: {what}, {going}")

        yield report


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _clock(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{left:02}" if minutes >= 60 else f"{minutes}:{left:02}"
