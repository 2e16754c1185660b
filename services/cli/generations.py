"""`animusic generations …`: lists, switches and prunes generations of profiles."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer
from redis.asyncio import Redis
from rich.table import Table

from services.cli.progress import say
from services.cli.rebuilding import rebuild
from services.cli.replay_report import print_differences, print_outcome
from services.common.redis import connect
from services.common.settings import Settings
from services.common.tables import print_table
from services.operator import generations
from services.operator.generations import Listed
from services.operator.replay.profiles import RebuildOptions

T = TypeVar("T")
app = typer.Typer(
    no_args_is_help=True, help="Generations of profiles: list them, switch between them, remove old ones."
)


@app.callback()
def _generations() -> None:
    """A generation is one whole set of profiles with its own marks; readers read one of them, the live one."""


@app.command("list")
def list_() -> None:
    """List the generations, what is noted of each, and how far behind the log each is."""
    settings = Settings()
    found = _with_redis(settings, lambda redis: generations.listed(settings.kafka, redis))
    table = Table("generation", "state", "behind", "made (UTC)", "live until (UTC)", "note", box=None)
    for one in found:
        note = "; ".join(filter(None, [one.noted.note, *one.noted.gaps]))
        times = _when(one.noted.made_at), _when(one.noted.live_until)
        table.add_row(one.name, _state(one), f"{one.behind:,}", *times, note)
    print_table(table, folding=("note",))


@app.command()
def switch(
    name: Annotated[str, typer.Argument(help="A generation that is ready.")],
    even_if_different: Annotated[bool, typer.Option("--even-if-different", help="Switch although it differs.")] = False,
) -> None:
    """Let a generation catch up with the log, compare it with the live one, and make it the live one."""
    _go_to(Settings(), name, "generations switch", even_if_different=even_if_different)


@app.command()
def rollback() -> None:
    """Go back to the generation that was live before. It catches up with the log first, so profiles stay current."""
    settings = Settings()
    name = _with_redis(settings, generations.former_generation)
    say(f"going back to {name}, which catches up first")
    _go_to(settings, name, "generations rollback", even_if_different=True)


@app.command()
def prune(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which; default: all but the live one and the one before it.")
    ] = None,
    *,
    all_of_them: Annotated[bool, typer.Option("--all", help="Also the one before: then you cannot roll back.")] = False,
) -> None:
    """Delete generations that are not live."""
    gone = _with_redis(Settings(), lambda redis: generations.prune(redis, names or [], all_of_them=all_of_them))
    for name, keys in gone.items():
        say(f"{name}: {keys:,} keys deleted")
    if not gone:
        say("nothing to delete")


def _go_to(settings: Settings, name: str, what: str, *, even_if_different: bool) -> None:
    options = RebuildOptions(generation=name, existing=True, even_if_different=even_if_different, what=what)
    outcome = rebuild(settings, options)
    if outcome.parity is not None and not outcome.parity.equal:
        print_differences(settings, outcome.parity)
    print_outcome(outcome, keep=False)
    if not outcome.switched:
        raise typer.Exit(1)


def _with_redis(settings: Settings, ask: Callable[[Redis], Awaitable[T]]) -> T:
    async def run() -> T:
        redis = connect(settings.redis)
        try:
            return await ask(redis)
        finally:
            await redis.aclose()

    return asyncio.run(run())


def _state(one: Listed) -> str:
    if one.live:
        return "live"
    return f"{one.noted.state}, was live last" if one.former else one.noted.state


def _when(ms: int | None) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if ms else "-"
