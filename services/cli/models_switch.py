"""`animusic models switch | rollback | prune`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from model_jobs.lifecycle import Pruned, Switched, prune, roll_back, switch_to
from model_jobs.publishing import KEPT_VERSIONS
from services.cli.progress import say
from services.cli.reaching import reach_log
from services.common.settings import Settings

Result = TypeVar("Result")
Arm = Annotated[str, typer.Argument(help="mpnet, minilm, node2vec or tfidf")]


def switch(
    arm: Arm,
    version: Annotated[str, typer.Argument(help="a version of `animusic models list`, or its first digits")],
) -> None:
    """Make a version live that lies on this machine. Playlists follow within a second; none is interrupted."""
    settings = Settings()
    _say(asyncio.run(_reached(settings, lambda: switch_to(settings, arm, version))), "switched to")


def rollback(arm: Arm) -> None:
    """Make the version live again that was live before."""
    settings = Settings()
    _say(asyncio.run(_reached(settings, lambda: roll_back(settings, arm))), "back at")


def prune_(
    keep: Annotated[
        int, typer.Option(min=1, help="Versions of an arm that stay: the live one, the one before it, the newest.")
    ] = KEPT_VERSIONS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing, say what would be removed.")] = False,
) -> None:
    """Remove old versions from this machine, and what builds that died left behind.

    The live version always stays; the one before it goes with `--keep 1` only, and then nothing is left to go back to.
    """
    settings = Settings()
    pruned: Pruned = asyncio.run(_reached(settings, lambda: prune(settings, keep, dry_run=dry_run)))
    for removed in pruned.removed:
        print(
            f"{'would remove' if dry_run else 'removed'} {removed.name} ({removed.why}, {removed.size_bytes:,} bytes)"
        )
    freed = sum(removed.size_bytes for removed in pruned.removed)
    what = f"{len(pruned.removed)} directories, {freed:,} bytes" if pruned.removed else "nothing"
    say(f"models: {what} {'to remove' if dry_run else 'removed'}")
    for arm in pruned.busy:
        say(f"models: {arm} was passed over, for a job builds it now; prune again when it is done")


async def _reached(settings: Settings, work: Callable[[], Awaitable[Result]]) -> Result:
    await reach_log(settings.kafka)
    return await work()


def _say(switched: Switched, how: str) -> None:
    record = switched.record
    if switched.before == record.version:
        say(f"{record.arm}: {record.version} is live already")
    else:
        before = f", before it {switched.before}" if switched.before else ""
        say(f"{record.arm}: {how} {record.version} ({record.songs:,} songs){before}")
