"""`animusic replay profiles`: rebuild, or only look at some listeners or at how much there is to read."""

import asyncio
from typing import Annotated

import typer

from services.cli.progress import say
from services.cli.reaching import reach_log
from services.cli.rebuilding import rebuild
from services.cli.replay_report import print_differences, print_one_user, print_outcome, print_plan
from services.common.redis import connect
from services.common.settings import Settings
from services.operator.replay.looking import Estimate, OneUser, estimate, one_user
from services.operator.replay.profiles import TOPICS, RebuildOptions
from services.rebuild.planning import Bound, bound_of, planned

_DEFAULT = RebuildOptions()


def command(
    *,
    since: Annotated[
        str, typer.Option("--from", help="earliest, a time (UTC), or topic/partition=offset,…", metavar="PLACE")
    ] = "earliest",
    until: Annotated[
        str, typer.Option(help="latest, a time (UTC), or topic/partition=offset,…", metavar="PLACE")
    ] = "latest",
    user: Annotated[
        list[str] | None, typer.Option(help="Rebuild this listener in memory and show what differs; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be read and how long it takes.")] = False,
    rate: Annotated[float | None, typer.Option(min=1, help="Most records a second, all processes together.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that read and fold.")] = _DEFAULT.workers,
    batch: Annotated[
        int, typer.Option(min=100, help="Records that a process holds before it writes.")
    ] = _DEFAULT.batch,
    nice: Annotated[int, typer.Option(min=0, max=19, help="Nice value of all its processes.")] = _DEFAULT.nice,
    keep: Annotated[bool, typer.Option("--keep", help="Build and compare it; readers stay where they are.")] = False,
    generation: Annotated[
        str | None, typer.Option(help="Its name. Default: the interrupted one, else a new one.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin a new one even if one was interrupted.")] = False,
    even_if_different: Annotated[
        bool, typer.Option("--even-if-different", help="Switch although it differs: the live one is known to be wrong.")
    ] = False,
) -> None:
    """Rebuild profiles from the log in a new generation, compare it with the live one, and make it the live one.

    Stop it with Ctrl-C; the same command goes on. The generation that was live stays: `animusic generations rollback`.
    """
    first, last = bound_of(since, "earliest"), bound_of(until, "latest")
    if user:
        raise typer.Exit(_show_users(user, first, last))
    if dry_run:
        _show_plan(first, last, workers)
        return
    _rebuild(
        RebuildOptions(
            since=first, until=last, workers=workers, batch=batch, nice=nice, rate=rate, keep=keep,
            generation=generation, new=new, even_if_different=even_if_different,
        )
    )  # fmt: skip


def _rebuild(options: RebuildOptions) -> None:
    settings = Settings()
    asyncio.run(reach_log(settings.kafka, 10))
    outcome = rebuild(settings, options)
    if outcome.parity is not None and not outcome.parity.equal:
        print_differences(settings, outcome.parity)
    print_outcome(outcome, keep=options.keep)
    if not options.keep and not outcome.switched:
        raise typer.Exit(1)


def _show_plan(since: Bound, until: Bound, workers: int) -> None:
    """Print what would be read and how long it takes."""
    settings = Settings()

    async def look() -> Estimate:
        return await estimate(settings.kafka, await planned(settings.kafka, TOPICS, since, until), workers)

    print_plan(asyncio.run(look()))


def _show_users(users: list[str], since: Bound, until: Bound) -> int:
    """Print what differs of these listeners; 1 where something does."""
    settings = Settings()

    async def look() -> list[OneUser]:
        redis = connect(settings.redis)
        try:
            plan = await planned(settings.kafka, TOPICS, since, until)
            return [await one_user(settings, redis, user, plan) for user in users]
        finally:
            await redis.aclose()

    found = asyncio.run(look())
    for one in found:
        print_one_user(one)
    say("looked at only: nothing was written, and what --user builds cannot be switched to")
    return int(any(one.differences for one in found))
