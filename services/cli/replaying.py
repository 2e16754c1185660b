"""What `animusic replay profiles` does: rebuild, or only look at some listeners or at how much there is to read."""

import asyncio
from typing import Any

import typer

from services.cli.progress import say
from services.cli.reaching import reach_log
from services.cli.rebuilding import rebuild
from services.cli.replay_report import print_differences, print_one_user, print_outcome, print_plan
from services.common.redis import connect
from services.common.settings import Settings
from services.operator.replay.looking import Estimate, OneUser, estimate, one_user
from services.operator.replay.planning import Bound, bound_of, planned
from services.operator.replay.profiles import Wish


def replay(since: str, until: str, **wish: Any) -> None:
    """Rebuild what lies between two places of the log; `wish` as in Wish. Exits with 1 where nothing was switched."""
    settings = Settings()
    first, last = _bounds(since, until)
    asyncio.run(reach_log(settings.kafka, 10))
    wanted = Wish(since=first, until=last, **wish)
    outcome = rebuild(settings, wanted)
    if outcome.parity is not None and not outcome.parity.equal:
        print_differences(settings, outcome.parity)
    print_outcome(outcome, keep=wanted.keep)
    if not wanted.keep and not outcome.switched:
        raise typer.Exit(1)


def show_plan(since: str, until: str, workers: int) -> None:
    """Print what would be read and how long it takes."""
    settings, (first, last) = Settings(), _bounds(since, until)

    async def look() -> Estimate:
        return await estimate(settings.kafka, await planned(settings.kafka, first, last), workers)

    print_plan(asyncio.run(look()))


def show_users(users: list[str], since: str, until: str) -> int:
    """Print what differs of these listeners; 1 where something does."""
    settings, (first, last) = Settings(), _bounds(since, until)

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


def _bounds(since: str, until: str) -> tuple[Bound, Bound]:
    return bound_of(since, "earliest"), bound_of(until, "latest")
