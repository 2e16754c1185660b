"""`animusic replay …`: views built anew from the log, beside the live ones."""

import asyncio
from typing import Annotated

import typer

from services.cli import replay_warehouse
from services.cli.progress import say
from services.cli.rebuilding import rebuild
from services.cli.replay_report import print_differences, print_one_user, print_outcome, print_plan
from services.common.kafka import wait_for_broker
from services.common.redis import connect
from services.common.settings import Settings
from services.operator.replay.looking import Estimate, OneUser, estimate, one_user
from services.operator.replay.planning import Bound, bound_of, planned
from services.operator.replay.profiles import Wish

app = typer.Typer(no_args_is_help=True, help="Build views of the log anew, beside the live ones, compare, and switch.")

app.command("warehouse")(replay_warehouse.command)


@app.callback()
def _replay() -> None:
    """Views are thrown away and built anew from the log; what is live stays live until the new one equals it."""


@app.command()
def catalogue() -> None:
    """Read the catalogue off the log as every recommender does when it starts, and say what it came to."""
    from services.cli.replay_served import read_whole_catalogue

    read_whole_catalogue()


@app.command()
def models(check: Annotated[bool, typer.Option("--check", help="Look only; build nothing.")] = False) -> None:
    """See that the vectors of every live model are on this machine and whole, and build those anew that are not."""
    from services.cli.replay_served import mend_models

    mend_models(check=check)


@app.command()
def profiles(
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
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that read and fold.")] = 2,
    batch: Annotated[int, typer.Option(min=100, help="Records that a process holds before it writes.")] = 200_000,
    nice: Annotated[int, typer.Option(min=0, max=19, help="How far they stand back behind what serves.")] = 19,
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
    settings = Settings()
    first, last = bound_of(since, "earliest"), bound_of(until, "latest")
    if user:
        raise typer.Exit(_show_users(settings, user, first, last))
    if dry_run:
        print_plan(asyncio.run(_estimate(settings, first, last, workers)))
        return
    asyncio.run(wait_for_broker(settings.kafka, 10))
    wish = Wish(
        since=first, until=last, workers=workers, batch=batch, nice=nice, rate=rate, keep=keep,
        generation=generation, new=new, even_if_different=even_if_different,
    )  # fmt: skip
    outcome = rebuild(settings, wish)
    if outcome.parity is not None and not outcome.parity.equal:
        print_differences(settings, outcome.parity)
    print_outcome(outcome, keep=keep)
    if not keep and not outcome.switched:
        raise typer.Exit(1)


def _show_users(settings: Settings, users: list[str], first: Bound, last: Bound) -> int:
    async def look() -> list[OneUser]:
        redis = connect(settings.redis)
        try:
            plan = await planned(settings.kafka, first, last)
            return [await one_user(settings, redis, user, plan) for user in users]
        finally:
            await redis.aclose()

    found = asyncio.run(look())
    for one in found:
        print_one_user(one)
    say("looked at only: nothing was written, and what --user builds cannot be switched to")
    return int(any(one.differences for one in found))


async def _estimate(settings: Settings, first: Bound, last: Bound, workers: int) -> Estimate:
    return await estimate(settings.kafka, await planned(settings.kafka, first, last), workers)
