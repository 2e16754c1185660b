"""`animusic models compare`: two versions side by side, before listeners see the second."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from contracts.model_builds import ModelBuild
from contracts.models import LiveModel
from model_jobs.compare import FAVOURITES, LISTENERS, TOP, Comparison, compare
from model_jobs.evaluate.metrics import Interval
from services.cli.reaching import reach_log
from services.common.settings import Settings
from services.common.tables import print_table

Name = Annotated[str, typer.Argument(help="an arm (what is live), arm@version (its first digits do), or a directory")]


def command(a: Name, b: Name) -> None:
    """Compare two models of this machine: their songs, neighbours, what listeners would get, and their builds.

    `animusic models build ARM --no-switch` makes a version that is not served yet.
    """
    settings = Settings()
    found = asyncio.run(_compare(settings, a, b))
    table = Table("", "a", "b", box=None)
    for row in _rows(found):
        table.add_row(*row)
    print_table(table)
    console = Console(soft_wrap=True)
    for line in _findings(found):
        console.print(line, highlight=False)


async def _compare(settings: Settings, a: str, b: str) -> Comparison:
    await reach_log(settings.kafka)
    return await compare(settings, a, b)


def _rows(found: Comparison) -> list[tuple[str, ...]]:
    a, b = found.a, found.b
    rows: list[tuple[str, ...]] = [
        ("version", f"{a.arm}@{a.version}", f"{b.arm}@{b.version}"),
        ("built (UTC)", _utc(a), _utc(b)),
        ("vectors", f"{a.vectors} {a.dimension:,}", f"{b.vectors} {b.dimension:,}"),
        ("songs", f"{a.songs:,}", f"{b.songs:,}"),
        ("build", *(_cost(build) for build in found.builds)),
    ]
    for name in sorted(set(a.params) | set(b.params)):
        if a.params.get(name) != b.params.get(name):
            rows.append((name, str(a.params.get(name, "-")), str(b.params.get(name, "-"))))
    return rows


def _findings(found: Comparison) -> list[str]:
    songs = f"songs: {found.common:,} in both, {found.added:,} only in b, {found.removed:,} only in a"
    if found.overlap is None:
        return [songs, "Too few songs are in both to compare what lies near them."]
    lines = [songs, f"overlap of a song's {TOP} nearest songs: {_interval(found.overlap)}"]
    if found.same_space is not None and found.rotated is not None:
        lines.append(f"cosine of a song's two vectors: {_interval(found.same_space)}")
        lines.append(f"the same after the rotation that fits best: {_interval(found.rotated)}")
    if found.other_pick is not None:
        lines.append(
            f"listeners (of {LISTENERS:,} with {FAVOURITES} random favourites) whose next song would be another: "
            f"{_interval(found.other_pick)}"
        )
    return lines


def _interval(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _cost(build: ModelBuild | None) -> str:
    if build is None:
        return "unknown"
    return f"{build.seconds:.1f} s, {build.cpu_seconds:.1f} CPU s, {build.peak_memory_bytes / 1e6:,.0f} MB"


def _utc(record: LiveModel) -> str:
    return datetime.fromtimestamp(record.built_at / 1000, UTC).strftime("%Y-%m-%d %H:%M")
