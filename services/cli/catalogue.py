"""`animusic catalogue …`: fill the log with songs, and look at what it holds."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from collectors.importing import Plan, planned, write, write_problems
from collectors.sources import Found, read, source_named
from collectors.synthetic import SMALLEST, SONGS
from collectors.withdrawing import Withdrawal, that_may_be_rejected, withdrawal
from services.cli.catalogue_identity import list_doubtful, merge
from services.cli.catalogue_report import print_summary
from services.cli.progress import bar, say
from services.cli.reaching import reach_log
from services.common.kafka import ensure_topics
from services.common.kafka.catalogue_log import CatalogueLog, read_catalogue
from services.common.process.exit_codes import INCOMPLETE
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
    encoding: Annotated[
        str | None,
        typer.Option(help="Of the file, as Python names it: cp932, euc_jp … Unset: UTF-8, or what its mark tells."),
    ] = None,
    withdraw_missing: Annotated[
        bool, typer.Option("--withdraw-missing", help="Withdraw every song of the log that the source does not have.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Withdraw them without asking, however many they are.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for a broker.", metavar="SECONDS")] = 30.0,
) -> None:
    """Read songs and write what is new or changed to the catalogue topic.

    A file has AniMusic's columns: relation, song, anime, MAL_ID … full_youtube_uri, youtube_views; some may be missing.
    Importing the same file again writes nothing and prints the same digest.

    Exit code 65: the file was not read to its end, or the songs that it lacks were not withdrawn; what could be read is
    imported.
    """
    settings = Settings()
    origin = source_named(source, songs=songs, seed=seed, encoding=encoding or settings.catalogue.encoding)
    with bar(f"read {origin.name}", origin.steps, "songs" if origin.path is None else "bytes") as advance_to:
        found = read(origin, advance_to)
        advance_to(origin.steps)
    log = asyncio.run(_log(settings, wait))
    plan, kept = _decided(settings, found, log, yes=yes) if withdraw_missing else (planned(found.songs, log), None)
    asyncio.run(_write(settings, plan))
    print_summary(found, plan, _list_problems(settings, found, rejected))
    complaints = [sentence for sentence in (found.complaint(), kept) if sentence]
    for sentence in complaints:
        say(sentence)
    if complaints:
        raise typer.Exit(INCOMPLETE)


@app.command()
def show(song: Annotated[str, typer.Argument(help="A song id, an alias, or a YouTube id.", metavar="SONG_ID")]) -> None:
    """Print one song as the log holds it."""
    log = asyncio.run(read_catalogue(Settings().kafka))
    found = log.find(song) or next((s for s in log.songs.values() if any(k.id == song for k in s.links)), None)
    if found is None:
        raise LookupError(_why_not(song, log))
    print(json.dumps(json.loads(found.log_value()), indent=2, ensure_ascii=False))


@app.command()
def digest() -> None:
    """Print 32 hex digits that stand for all songs that are served: equal digests, equal catalogues."""
    log = asyncio.run(read_catalogue(Settings().kafka))
    say(f"{len(log.songs):,} songs, {len(log.withdrawn):,} withdrawn")
    print(log.digest())


app.command("doubtful")(list_doubtful)
app.command()(merge)


async def _log(settings: Settings, wait: float) -> CatalogueLog:
    await reach_log(settings.kafka, wait)
    await ensure_topics(settings.kafka)
    return await read_catalogue(settings.kafka)


def _decided(settings: Settings, found: Found, log: CatalogueLog, *, yes: bool) -> tuple[Plan, str | None]:
    """What to write, and why missing songs stay in spite of the option; None when they go, or none are missing."""
    spared = that_may_be_rejected(found.problems, log.songs.values())
    plan = planned(found.songs, log, withdraw_missing=True, spared=spared)
    asked = withdrawal(found, log.songs, plan.missing, plan.spared)
    if asked.songs:
        say(f"--withdraw-missing: {asked.described()}")
    refusal = asked.refusal or (None if yes else _not_agreed(settings, asked))
    if refusal is None:
        return plan, None
    return planned(found.songs, log), f"nothing was withdrawn: {refusal}. What could be read was imported"


def _not_agreed(settings: Settings, asked: Withdrawal) -> str | None:
    """Why not; None where the share is small enough, or the user at the terminal confirms."""
    most = settings.catalogue.withdraw_share
    if asked.share <= most:
        return None
    if sys.stdin.isatty() and typer.confirm("Withdraw them?", default=False, err=True):
        return None
    return (
        f"the songs that are missing and the rows that could not be read are more than {most:.0%} of the catalogue "
        "(ANIMUSIC_CATALOGUE__WITHDRAW_SHARE). Is it the right file, and whole? `--yes` withdraws them all the same"
    )


async def _write(settings: Settings, plan: Plan) -> None:
    written = 0
    with bar("write to the log", len(plan.records), "records") as advance_to:

        def advance(more: int) -> None:
            nonlocal written
            written += more
            advance_to(written)

        await write(settings.kafka, plan.records, advance)


def _list_problems(settings: Settings, found: Found, asked_for: Path | None) -> Path | None:
    if not found.problems:
        return None
    path = asked_for or settings.data_dir / f"rejected-{time.strftime('%Y%m%d-%H%M%S')}.csv"
    write_problems(path, found.problems)
    return path


def _why_not(song: str, log: CatalogueLog) -> str:
    if song in log.withdrawn:
        return f"the song {song} was withdrawn from the catalogue"
    if not log.songs:
        return "the catalogue is empty; `animusic catalogue import sample` fills it"
    return f"no song of the catalogue has the id {song}; there are {len(log.songs):,} songs"
