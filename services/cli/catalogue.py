"""`animusic catalogue …`: fill the log with songs, and look at what it holds."""

import asyncio
import json
import time
from pathlib import Path
from typing import Annotated

import typer

from collectors.importing import Plan, planned, write, write_problems
from collectors.sources import Found, read, source_named
from collectors.synthetic import SMALLEST, SONGS
from services.cli.progress import bar, say
from services.common.catalogue_log import CatalogueLog, read_catalogue
from services.common.kafka import ensure_topics, wait_for_broker
from services.common.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The songs: load them into the log, and see what it holds.")


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="A CSV file (plain or .gz), `sample`, or `synthetic`.")],
    *,
    songs: Annotated[int, typer.Option(min=SMALLEST, help="How many songs `synthetic` makes.")] = SONGS,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another `synthetic` catalogue.")] = 0,
    rejected: Annotated[
        Path | None, typer.Option(help="Where rows that could not be taken are listed, with reasons.", metavar="FILE")
    ] = None,
    withdraw_missing: Annotated[
        bool, typer.Option("--withdraw-missing", help="Withdraw every song of the log that the source does not have.")
    ] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for a broker.", metavar="SECONDS")] = 30.0,
) -> None:
    """Read songs and write what is new or changed to the catalogue topic.

    A file has AniMusic's columns: relation, song, anime, MAL_ID … full_youtube_uri, youtube_views; some may be missing.
    Importing the same file again writes nothing and prints the same digest.
    """
    settings = Settings()
    origin = source_named(source, songs=songs, seed=seed)
    with bar(f"read {origin.name}", origin.steps, "songs" if origin.path is None else "bytes") as advance_to:
        found = read(origin, advance_to)
        advance_to(origin.steps)
    plan = asyncio.run(_write(settings, found, withdraw_missing, wait))
    listed = _list_problems(settings, found, rejected)
    _print_summary(found, plan, listed)


@app.command()
def show(song: Annotated[str, typer.Argument(help="A song id, or a YouTube id.", metavar="SONG_ID")]) -> None:
    """Print one song as the log holds it."""
    log = asyncio.run(read_catalogue(Settings().kafka))
    found = log.songs.get(song) or next((s for s in log.songs.values() if any(k.id == song for k in s.links)), None)
    if found is None:
        raise LookupError(_why_not(song, log))
    print(json.dumps(json.loads(found.log_value()), indent=2, ensure_ascii=False))


@app.command()
def digest() -> None:
    """Print 32 hex digits that stand for all songs that are served: equal digests, equal catalogues."""
    log = asyncio.run(read_catalogue(Settings().kafka))
    say(f"{len(log.songs):,} songs, {len(log.withdrawn):,} withdrawn")
    print(log.digest())


async def _write(settings: Settings, found: Found, withdraw_missing: bool, wait: float) -> Plan:
    await wait_for_broker(settings.kafka, wait)
    await ensure_topics(settings.kafka)
    plan = planned(found.songs, await read_catalogue(settings.kafka), withdraw_missing=withdraw_missing)
    written = 0
    with bar("write to the log", len(plan.records), "records") as advance_to:

        def advance(more: int) -> None:
            nonlocal written
            written += more
            advance_to(written)

        await write(settings.kafka, plan.records, advance)
    return plan


def _list_problems(settings: Settings, found: Found, asked_for: Path | None) -> Path | None:
    if not found.problems:
        return None
    path = asked_for or settings.data_dir / f"rejected-{time.strftime('%Y%m%d-%H%M%S')}.csv"
    write_problems(path, found.problems)
    return path


def _print_summary(found: Found, plan: Plan, listed: Path | None) -> None:
    cells_left_out = len(found.problems) - found.rejected
    rows = [
        ("read", found.rows, "rows"),
        ("duplicates merged", found.merged_rows, "rows into the song that another row has"),
        ("rejected", found.rejected, f"rows, listed in {listed}" if found.rejected else "rows"),
        ("left out", cells_left_out, f"cells, listed in {listed}" if cells_left_out else "cells"),
        ("new", plan.new, "songs"),
        ("changed", plan.changed, "songs"),
        ("unchanged", plan.unchanged, "songs"),
        ("withdrawn", plan.withdrawn, "songs"),
    ]
    for name, number, what in rows:
        print(f"{name:<18}{number:>9,} {what}")
    print(f"{'catalogue digest':<18}{plan.digest}")


def _why_not(song: str, log: CatalogueLog) -> str:
    if song in log.withdrawn:
        return f"the song {song} was withdrawn from the catalogue"
    if not log.songs:
        return "the catalogue is empty; `animusic catalogue import sample` fills it"
    return f"no song of the catalogue has the id {song}; there are {len(log.songs):,} songs"
