"""`animusic replay catalogue` and `animusic replay models`: what recommenders read off the log when they start."""

import asyncio
from typing import Annotated

import typer

from model_jobs.build import build
from model_jobs.live import live_models
from model_jobs.registry import model_named
from services.cli.progress import say
from services.cli.reaching import reach_log
from services.common.kafka.catalogue_log import read_catalogue
from services.common.settings import Settings
from services.operator.replay.served import ModelState, model_states, move_damaged


def catalogue() -> None:
    """Read the catalogue off the log as every recommender does when it starts, and say what it came to.

    Exits with 1 when a record cannot be read.
    """
    settings = Settings()
    asyncio.run(reach_log(settings.kafka, 10))
    found = asyncio.run(read_catalogue(settings.kafka))
    print(f"{len(found.songs):,} songs, {len(found.withdrawn):,} withdrawn, digest {found.digest()}")
    if not found.songs:
        raise LookupError("the log has no songs; `animusic catalogue import sample` loads some")
    say("recommenders hold the catalogue in memory and follow the topic: restart one, and it reads all of it again")
    if found.unreadable:
        say(f"{found.unreadable:,} records could not be read and were passed over")
        raise typer.Exit(1)


def models(check: Annotated[bool, typer.Option("--check", help="Look only; build nothing.")] = False) -> None:
    """See that the vectors of every live model are on this machine and whole, and build those anew that are not.

    With --check, exits with 1 when one is not whole.
    """
    settings = Settings()
    asyncio.run(reach_log(settings.kafka, 10))
    live = asyncio.run(live_models(settings.kafka))
    if not live:
        raise LookupError("no model is live; `animusic models build` makes some")
    found = model_states(settings.vectors_dir, live.values())
    for one in found:
        print(f"{one.record.arm} {one.record.version}: {one.trouble or f'whole, {one.record.songs:,} songs'}")
    broken = [one for one in found if one.trouble]
    if broken and check:
        raise typer.Exit(1)
    for one in broken:
        _build_anew(settings, one)


def _build_anew(settings: Settings, one: ModelState) -> None:
    record = one.record
    aside = move_damaged(settings.vectors_dir, record)
    if aside is not None:
        say(f"{record.arm}: moved the damaged directory to {aside.name}; delete it when you no longer need it")
    built = asyncio.run(build(settings, model_named(settings, record.arm, record.params)))
    same = "the same version" if built.record.version == record.version else "of the catalogue as it is now"
    say(f"{record.arm}: {built.outcome} {built.record.version} ({same}) in {built.seconds:.1f} s")
