"""The terminal output of a start: one line per step, then a table, three lines to paste, and the page's address."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import psutil
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from services.local.keeper import Keeper

MIB = 1 << 20


class Step:
    """One running step; `note` shows its current work."""

    def __init__(self, steps: "Steps", name: str, task: TaskID | None) -> None:
        self._steps, self._name, self._task = steps, name, task
        self.result = ""

    def note(self, text: str) -> None:
        """Show the current work. Only a terminal shows it."""
        self._steps.show(self._task, escape(f"{self._name}: {text}"))

    def done(self, text: str) -> None:
        """Set the result for the final line."""
        self.result = text


class Steps:
    """The steps of a start. Use it as a context; several steps may run at once."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = (
            Progress(
                SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
            )
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    @contextmanager
    def step(self, name: str, what: str = "starting") -> Iterator[Step]:
        """One step, from its first line to `✓ name: result (seconds)`; an error in it leaves `✗`."""
        # A path may hold brackets, which rich would take for its markup.
        task = self._live.add_task(escape(f"{name}: {what}"), total=None) if self._live is not None else None
        if self._live is None:
            self.say(escape(f"  {name}: {what}"))
        step, began = Step(self, name, task), time.monotonic()
        try:
            yield step
        except BaseException as error:
            # A step that was cancelled because another one failed is no failure.
            self._end(task, f"[red]✗[/red] {name}" if isinstance(error, Exception) else None)
            raise
        summary = escape(f"{name}: {step.result or 'done'}")
        self._end(task, f"[green]✓[/green] {summary} [dim]({time.monotonic() - began:.1f} s)[/dim]")

    def say(self, text: str) -> None:
        """A line that stays, in rich's markup: `escape` what was not written here."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def show(self, task: TaskID | None, text: str) -> None:
        """Change a running step's text."""
        if self._live is not None and task is not None:
            self._live.update(task, description=text)

    def _end(self, task: TaskID | None, line: str | None) -> None:
        if self._live is not None and task is not None:
            self._live.remove_task(task)
        if line is not None:
            self.say(line)


def table(keepers: Sequence[Keeper], own_pid: int) -> Table:
    """Part, process, address and resident memory, with the sum of the memory below."""
    shown = Table("part", "process", "address", "memory", box=None, pad_edge=False, header_style="dim")
    shown.columns[3].justify = "right"
    rows = [(keeper.name, keeper.pid, keeper.part.address) for keeper in keepers]
    total = 0
    for name, pid, address in [*rows, ("supervisor", own_pid, "")]:
        memory = resident_bytes(pid)
        total += memory
        shown.add_row(name, str(pid or "-"), address, f"{memory / MIB:.0f} MB")
    shown.add_row("all", "", "", f"{total / MIB:.0f} MB", style="bold")
    return shown


def resident_bytes(pid: int | None) -> int:
    """Resident memory of a process; 0 when it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid is not None else 0
    except psutil.Error:
        return 0


def curl_lines(url: str) -> list[str]:
    """Three lines that work when pasted one after the other: a session, a like, a playlist."""
    token = 'sed \'s/.*"token":"\\([^"]*\\).*/\\1/\''
    json = "-H 'content-type: application/json'"
    return [
        f"TOKEN=$(curl -s {url}/v1/sessions {json} -d '{{\"guest\": true}}' | {token})",
        f"curl -s {url}/v1/playlists -H \"authorization: Bearer $TOKEN\" {json} -d '{{}}'",
        f"curl -s '{url}/playlist?anilist_username=new'",
    ]
