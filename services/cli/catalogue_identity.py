"""`animusic catalogue doubtful` and `merge`: songs that may be one, and making them one."""

import asyncio
from typing import Annotated

import typer

from collectors.doubts import Doubt, doubtful
from collectors.identity import joined
from collectors.importing import withdrawal, write
from contracts.catalogue import Song
from services.cli.progress import say
from services.common.kafka.catalogue_log import CatalogueLog, read_catalogue
from services.common.settings import Settings


def list_doubtful() -> None:
    """List songs that may be one: alike, but not so much that an import would join them."""
    log = asyncio.run(read_catalogue(Settings().kafka))
    found = doubtful(log.songs.values())
    if not found:
        print(f"No two of {len(log.songs):,} songs are in doubt.")
        return
    print(f"{len(found):,} pairs among {len(log.songs):,} songs may be one song:\n")
    for doubt in found:
        print(_described(doubt))
    print("`animusic catalogue merge KEPT OTHER` merges two of them. To keep them apart, do nothing.")


def merge(
    kept: Annotated[str, typer.Argument(help="The song whose id stays.", metavar="KEPT")],
    other: Annotated[str, typer.Argument(help="The song that it turned out to be.", metavar="OTHER")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Merge them though AniDB tells them apart.")] = False,
) -> None:
    """Make two songs one. OTHER becomes an alias of KEPT; what was liked or heard under it counts for KEPT."""
    settings = Settings()
    log = asyncio.run(read_catalogue(settings.kafka))
    one, gone = _song(kept, log), _song(other, log)
    if one.song_id == gone.song_id:
        raise ValueError(f"{kept} and {other} are one song already: {one.song_id}")
    if one.anidb and gone.anidb and one.anidb != gone.anidb and not yes:
        raise ValueError(
            f"AniDB tells them apart ({one.anidb} and {gone.anidb}), so they are not merged; `--yes` merges them anyway"
        )
    records = [
        (one.song_id, joined(one, gone).log_value()),
        (gone.song_id, withdrawal(gone.song_id, one.song_id, gone)),
    ]
    asyncio.run(write(settings.kafka, records))
    say(f"{gone.song_id} is an alias of {one.song_id} now: {_named(one)}")


def _song(reference: str, log: CatalogueLog) -> Song:
    found = log.find(reference)
    if found is None:
        raise LookupError(f"no song of the catalogue has the id {reference}; `animusic catalogue doubtful` lists pairs")
    return found


def _described(doubt: Doubt) -> str:
    lines = [f"  {song.song_id}  {_named(song)}" for song in (doubt.one, doubt.other)]
    return "\n".join([*lines, f"      {doubt.reason}", ""])


def _named(song: Song) -> str:
    singers = f" by {', '.join(song.credits.vocals)}" if song.credits.vocals else ""
    anidb = f", AniDB {song.anidb}" if song.anidb else ""
    return f"{song.title}{singers} - {song.appearances[0].relation} of {song.anime.title}{anidb}"
