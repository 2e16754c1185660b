"""`animusic report …`: answers to the paper's questions, from what the warehouse has seen."""

import asyncio
import csv
import json
import sys
from dataclasses import asdict
from typing import Annotated, Any, Final

import httpx
import typer
from rich.console import Console
from rich.table import Table

from contracts.topics import MODEL_BUILDS
from services.analytics.feasibility import QUERY, WHOLE, Line, lines, notes
from services.cli.progress import say
from services.common.settings import Settings
from services.common.tables import print_table
from services.operator.readers.clickhouse import warehouse_lacks

app = typer.Typer(no_args_is_help=True, help="Answers to the paper's questions, from what the warehouse has seen.")
_ENOUGH_SECONDS: Final = 60.0
# After a first start the warehouse needs some seconds for what the start wrote.
_WAIT_SECONDS: Final = 20.0
_NOTHING: Final = 3


@app.callback()
def _report() -> None:
    """Answers to the paper's questions, from what the warehouse has seen."""


@app.command()
def feasibility(
    csv_: Annotated[bool, typer.Option("--csv", help="Comma-separated values, in full precision.")] = False,
) -> None:
    """Show the time and cost of building each arm, by stage, beside the original's.

    Of each arm that build counts which computed most songs, and of those the last. Waits a moment for a warehouse that
    is behind the log. Exit code 3: there is no build to report.
    """
    settings = Settings()
    lacks = asyncio.run(warehouse_lacks(settings, [MODEL_BUILDS.name], _WAIT_SECONDS, say))
    builds = _query_warehouse(settings, QUERY)
    if lacks:
        say(f"the warehouse lacks {lacks:,} records of builds that the log has; `animusic status` says how far it is")
    if not builds:
        say("no build is in the warehouse" if lacks else "nothing was built yet; `animusic models build` builds")
        raise typer.Exit(_NOTHING)
    if csv_:
        _write_csv(lines(builds))
    else:
        _print(lines(builds), notes(builds))


def _query_warehouse(settings: Settings, query: str) -> list[dict[str, Any]]:
    answer = httpx.post(settings.clickhouse.dsn, content=query, timeout=_ENOUGH_SECONDS)
    if answer.is_error:
        raise RuntimeError(f"the warehouse refuses: {answer.text.strip()}")
    return [json.loads(line) for line in answer.text.splitlines()]


def _write_csv(report: list[Line]) -> None:
    writer = csv.DictWriter(sys.stdout, [*asdict(report[0]), "times_less"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**asdict(line), "times_less": line.times_less} for line in report)


def _print(report: list[Line], notes_: list[str]) -> None:
    table = Table(box=None)
    for name in ("arm", "songs", "stage", "seconds", "CPU s", "CPU ms/song", "memory", "original", "ours is"):
        table.add_column(name, justify="left" if name in ("arm", "stage", "original", "ours is") else "right")
    for line in report:
        table.add_row(*_row(line), end_section=line.stage == WHOLE)
    print_table(table)
    console = Console(soft_wrap=True)
    for sentence in notes_:
        console.print(sentence, highlight=False, markup=False)


def _row(line: Line) -> tuple[str, ...]:
    memory = "" if line.peak_memory_bytes is None else f"{line.peak_memory_bytes / 1e6:,.0f} MB"
    original = ours = ""
    if line.original_cpu_ms_per_song is not None and line.original_memory_bytes is not None:
        original = f"{line.original_cpu_ms_per_song:.1f} CPU ms/song, {line.original_memory_bytes / 1e6:,.0f} MB"
        ours = f"{line.times_less:,.1f}× less CPU" if line.times_less else ""
    return (
        line.arm, f"{line.songs:,}", line.stage, f"{line.seconds:.2f}", f"{line.cpu_seconds:.2f}",
        f"{line.cpu_ms_per_song:.2f}", memory, original, ours,
    )  # fmt: skip
