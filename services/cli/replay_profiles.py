"""`animusic replay profiles`: the options. What it takes to heed them is imported once it stands back."""

from typing import Annotated

import typer

from services.common.process.priority import go_behind


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
    if not user and not dry_run:
        # Before all that is imported: it is a second of a core.
        go_behind(nice)
    from services.cli.replaying import replay, show_plan, show_users

    if user:
        raise typer.Exit(show_users(user, since, until))
    if dry_run:
        show_plan(since, until, workers)
        return
    replay(
        since, until, workers=workers, batch=batch, nice=nice, rate=rate, keep=keep,
        generation=generation, new=new, even_if_different=even_if_different,
    )  # fmt: skip
