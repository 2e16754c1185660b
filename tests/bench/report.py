"""What benchmarks print and write: rows with a target and a reference that ran beside, and the hardware."""

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One measured figure. `target` is the promise (requirements by number), `reference` what it stands beside."""

    what: str
    figure: str
    target: str = ""
    reference: str = ""


@dataclass
class Section:
    """One group of figures, with what must be known to read them."""

    title: str
    note: str
    rows: list[Row] = field(default_factory=list)

    def add(self, what: str, figure: str, target: str = "", reference: str = "") -> None:
        """Append a row and print it at once: long work shows progress."""
        self.rows.append(Row(what, figure, target, reference))
        Console(stderr=True).print(f"  {what}: [bold]{figure}[/]  {target}  {reference}", highlight=False)


def hardware() -> str:
    """The machine, in one line."""
    model = platform.processor() or platform.machine()
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores of {model}, {memory:.0f} GB, {platform.system()}, Python {platform.python_version()}"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def markdown(sections: list[Section], date: str) -> str:
    """The whole of docs/benchmarks.md."""
    parts = [
        "# Benchmarks\n",
        f"Written by `make bench` on {date}: {hardware()}. Load generator, Kafka, stores and services share these cores; "
        "the generator's share is stated where it matters. Machines are noisy: read ratios before absolute figures.\n",
    ]
    for section in sections:
        parts.append(f"## {section.title}\n\n{section.note}\n")
        parts.append("| what | measured | promised | beside it |\n| --- | --- | --- | --- |")
        parts.extend(f"| {r.what} | {r.figure} | {r.target} | {r.reference} |" for r in section.rows)
        parts.append("")
    return "\n".join(parts)


def show(section: Section) -> None:
    """Print a finished section as a table."""
    table = Table(title=section.title, title_justify="left")
    for column in ("what", "measured", "promised", "beside it"):
        table.add_column(column)
    for row in section.rows:
        table.add_row(row.what, row.figure, row.target, row.reference)
    Console().print(table)
