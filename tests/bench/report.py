"""What benchmarks print and write: rows with a promise and notes, the hardware, and how busy it was."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

_SCREEN = Console(stderr=True)


@dataclass(frozen=True)
class Row:
    """One measured figure. `promise` names the requirement, `kept` whether it holds (None: nothing was promised)."""

    what: str
    figure: str
    promise: str = ""
    beside: str = ""
    kept: bool | None = None

    @property
    def promised(self) -> str:
        """The promise with its verdict."""
        verdict = {None: "", True: " - kept", False: " - **missed**"}[self.kept]
        return f"{self.promise}{verdict}"


@dataclass
class Section:
    """One group of figures, with what must be known to read them."""

    title: str
    note: str
    rows: list[Row] = field(default_factory=list)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])

    def add(self, what: str, figure: str, promise: str = "", beside: str = "", *, kept: bool | None = None) -> None:
        """Append a row and print it at once: long work shows progress."""
        row = Row(what, figure, promise, beside, kept)
        self.rows.append(row)
        _SCREEN.print(f"  {what}: [bold]{figure}[/]  {row.promised}  [dim]{beside}[/]", highlight=False)


def say(text: str) -> None:
    """A line of progress, on standard error."""
    _SCREEN.print(f"[dim]  … {text}[/]", highlight=False)


def hardware() -> str:
    """The machine, in one line."""
    model = platform.processor() or platform.machine()
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores of {model}, {memory:.0f} GB, {platform.system()}, Python {platform.python_version()}"
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


_HEAD = (
    "# Benchmarks\n\n"
    "Written by `make bench`; a section that is measured again replaces the former one. Load generator, Kafka, stores "
    "and services share the cores: compare ratios rather than absolute figures. CPU in percent is a share of one core. "
    "`R…` is a requirement. *Stated* figures come from another two-core machine and only give the scale.\n"
)


def markdown(sections: Sequence[Section], date: str, command: str, before: str = "") -> str:
    """The whole of docs/benchmarks.md: these sections, and of `before`, its former text, those not measured now."""
    texts = {text.partition("\n")[0]: text for text in before.split("\n## ")[1:]}
    texts.update((section.title, _markdown(section, date, command)) for section in sections)
    return "\n## ".join([_HEAD, *(text.rstrip("\n") + "\n" for text in texts.values())])


def _markdown(section: Section, date: str, command: str) -> str:
    measured = f"`{command}`, {date}: {hardware()}, load average {section.load_before:.1f}."
    head = "| what | measured | promised | notes |\n| --- | --- | --- | --- |"
    rows = [f"| {r.what} | {r.figure} | {r.promised} | {r.beside} |" for r in section.rows]
    return "\n".join([f"{section.title}\n\n{section.note}\n\n{measured}\n", head, *rows, ""])


def show(section: Section) -> None:
    """Print a finished section as a table."""
    table = Table(title=f"{section.title} (load average {section.load_before:.1f})", title_justify="left")
    for column in ("what", "measured", "promised", "notes"):
        table.add_column(column)
    for row in section.rows:
        table.add_row(row.what, row.figure, row.promised.replace("**", ""), row.beside)
    Console().print(table)
