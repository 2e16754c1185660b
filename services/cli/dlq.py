"""`animusic dlq …`: list, show, redrive and purge dead letters."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from services.cli.progress import say
from services.cli.reaching import reach_log
from services.common.settings import KafkaSettings, Settings
from services.common.tables import print_table
from services.operator.dlq.editing import assignments, exactly
from services.operator.dlq.log import read_bytes, read_dead_letters
from services.operator.dlq.model import OPEN, DeadLetter
from services.operator.dlq.selecting import Filter, as_json, by_hour, clock, groups, moment

if TYPE_CHECKING:
    from services.operator.dlq.redriving import Outcome

app = typer.Typer(no_args_is_help=True, help="Dead letters: records that could not be read, and what becomes of them.")

Ids = Annotated[
    list[str] | None, typer.Argument(help="Dead letters, as `animusic dlq list` names them.", metavar="LETTER")
]
Reason = Annotated[str | None, typer.Option(help="Part of the reason.")]
TopicName = Annotated[str | None, typer.Option(help="The topic that the record came from.")]
Step = Annotated[str | None, typer.Option(help="Who could not read it: profiles, warehouse.")]
Since = Annotated[str | None, typer.Option(help="Found at or after: an ISO time (UTC), 2h, 3d, or ms.", metavar="TIME")]
Until = Annotated[str | None, typer.Option(help="Found before.", metavar="TIME")]
User = Annotated[str | None, typer.Option(help="Whom the record is about.")]
Offsets = Annotated[list[int] | None, typer.Option("--offset", help="Its offset in the topic of dead letters.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many, the oldest first.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen; write nothing.")]
_REASONS_SAID = 20
_EXAMPLES = 5


@app.command("list")
def list_(
    *,
    reason: Reason = None,
    topic: TopicName = None,
    step: Step = None,
    since: Since = None,
    until: Until = None,
    user: User = None,
    offsets: Offsets = None,
    limit: Limit = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was redriven or purged.")] = False,
    each: Annotated[bool, typer.Option("--each", help="One line a dead letter, not a reason.")] = False,
    as_lines: Annotated[bool, typer.Option("--json", help="One JSON object a dead letter, for scripts.")] = False,
) -> None:
    """Dead letters by reason with their counts, and when they came."""
    wanted = _filter(
        reason=reason, topic=topic, step=step, since=since, until=until, user=user, offsets=offsets, limit=limit,
        everything=everything,
    )  # fmt: skip
    dead_letters = wanted.of(asyncio.run(_read(Settings().kafka)))
    if as_lines:
        for dead_letter in dead_letters:
            print(json.dumps(as_json(dead_letter), ensure_ascii=False))
    elif not dead_letters:
        say("no open dead letters" if not everything else "no dead letters")
    elif each:
        _print_each(dead_letters)
    else:
        _print_groups(dead_letters)


@app.command()
def show(
    dead_letter: Annotated[str, typer.Argument(help="A dead letter, as `animusic dlq list` names it.")],
    *,
    raw: Annotated[bool, typer.Option("--raw", help="Only the record's bytes, untouched.")] = False,
) -> None:
    """One dead letter: why, where it came from, whether it is resolved, and its bytes.

    `animusic dlq show LETTER --raw > record.json`, an editor, and `animusic dlq redrive LETTER --value record.json`
    correct one record.
    """
    settings = Settings().kafka
    (found,) = Filter(ids=(dead_letter,)).of(asyncio.run(_read(settings)))
    value = asyncio.run(_value(settings, found))
    if raw:
        sys.stdout.buffer.write(value or b"")
        return
    rows = {**as_json(found), "logged": clock(found.last.logged), "buried": clock(found.last.found)}
    for name, content in rows.items():
        print(f"{name:<12} {', '.join(content) if isinstance(content, list) else content or '-'}")
    for failure in found.failures:
        print(f"{'failed':<12} attempt {failure.attempts}, {failure.step} at {failure.place}: {failure.reason}")
    print(f"{'value':<12} {'none (null)' if value is None else value.decode('utf-8', 'backslashreplace')}")


@app.command()
def redrive(
    ids: Ids = None,
    *,
    reason: Reason = None,
    topic: TopicName = None,
    step: Step = None,
    since: Since = None,
    until: Until = None,
    user: User = None,
    offsets: Offsets = None,
    limit: Limit = None,
    to_set: Annotated[list[str] | None, typer.Option("--set", help="Set a field first.", metavar="PATH=VALUE")] = None,
    to_unset: Annotated[list[str] | None, typer.Option("--unset", help="Remove a field.", metavar="PATH")] = None,
    value: Annotated[Path | None, typer.Option(help="The whole record, of one dead letter.", metavar="FILE")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also what would fail again, or was replaced since.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also what was redriven before.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
    rate: Annotated[float | None, typer.Option(min=0.1, help="At most so many records a second.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Append records to their topic again, unchanged or corrected.

    Each is first checked as the consumers would read it; one that would fail again is kept. Exit code 1 when any is
    kept. Redriving twice has one effect.
    """
    # It imports the consumers' code, which listing does not need.
    from services.operator.dlq.redriving import redrive as redrive_records

    wanted = _filter(
        ids=ids, reason=reason, topic=topic, step=step, since=since, until=until, user=user, offsets=offsets,
        limit=limit, everything=again or bool(ids),
    )  # fmt: skip
    _must_choose(wanted, everything, "redrive")
    edit = assignments(to_set or [], to_unset or [])
    settings = Settings().kafka
    dead_letters = wanted.of(asyncio.run(_read(settings)))
    if value is not None:
        if len(dead_letters) != 1 or to_set or to_unset:
            raise ValueError(f"--value is the whole record of one dead letter, and {len(dead_letters)} are meant")
        edit = exactly(value.read_bytes())
    redriving = redrive_records(settings, dead_letters, edit, force=force, again=again, dry_run=dry_run, rate=rate)
    outcome = asyncio.run(redriving)
    _print_outcome(outcome, dry_run=dry_run)
    if outcome.kept:
        raise typer.Exit(1)


@app.command()
def purge(
    ids: Ids = None,
    *,
    reason: Reason = None,
    topic: TopicName = None,
    step: Step = None,
    since: Since = None,
    until: Until = None,
    user: User = None,
    offsets: Offsets = None,
    limit: Limit = None,
    unredriven: Annotated[
        bool, typer.Option("--unredriven", help="Also those whose records never had their effect: they are lost.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Give up dead letters, and delete their bytes as far as the log allows. Open ones only with --unredriven."""
    from services.operator.dlq.log import purge as purge_records

    wanted = _filter(
        ids=ids, reason=reason, topic=topic, step=step, since=since, until=until, user=user, offsets=offsets,
        limit=limit, everything=True,
    )  # fmt: skip
    _must_choose(wanted, everything, "purge")
    settings = Settings().kafka
    dead_letters = wanted.of(asyncio.run(_read(settings)))
    done = asyncio.run(purge_records(settings, dead_letters, unredriven=unredriven, dry_run=dry_run))
    lost = sum(dead_letter.state == OPEN for dead_letter in done.purged)
    would = "would be " if dry_run else ""
    say(f"{len(done.purged):,} {would}purged, {lost:,} of them never redriven")
    if not dry_run:
        say(f"the topic begins at {done.begins_at}; {done.still_there:,} purged ones remain behind an older one")
    if done.kept:
        say(f"{len(done.kept):,} kept: they were never redriven. --unredriven gives them up for good")
        raise typer.Exit(1)


def _filter(
    *,
    everything: bool,
    ids: list[str] | None = None,
    since: str | None = None,
    until: str | None = None,
    offsets: list[int] | None = None,
    **exactly_so: Any,
) -> Filter:
    now = int(time.time() * 1_000)
    return Filter(
        ids=tuple(ids or ()),
        states=() if everything else (OPEN,),
        since=None if since is None else moment(since, now),
        until=None if until is None else moment(until, now),
        offsets=tuple(offsets or ()),
        **exactly_so,
    )


def _must_choose(wanted: Filter, everything: bool, verb: str) -> None:
    """Raise ValueError where nothing says which dead letters are meant."""
    chosen = Filter(states=wanted.states, limit=wanted.limit) != wanted
    if not chosen and not everything:
        raise ValueError(
            f"name dead letters, or say which by --reason, --topic, --user …; `--all` means all. Did not {verb}"
        )


async def _read(settings: KafkaSettings) -> list[DeadLetter]:
    await reach_log(settings, 10)
    return list((await read_dead_letters(settings)).by_id.values())


async def _value(settings: KafkaSettings, dead_letter: DeadLetter) -> bytes | None:
    async for _, _, value in read_bytes(settings, [dead_letter]):
        return value
    raise LookupError(f"the bytes of dead letter {dead_letter.id} expired meanwhile")


def _print_groups(dead_letters: list[DeadLetter]) -> None:
    table = Table("count", "reason", "topic", "steps", "state", "first (UTC)", "last (UTC)", "example", box=None)
    for group in groups(dead_letters):
        states = ", ".join(f"{count} {state}" for state, count in group.states.items())
        steps, times = ", ".join(group.steps), (clock(group.first), clock(group.last))
        table.add_row(f"{group.count:,}", group.reason, group.topic, steps, states, *times, group.example)
    print_table(table, folding=("reason",))
    console = Console(soft_wrap=True, highlight=False)
    hours = by_hour(dead_letters)
    most = max(hours.values())
    for hour, count in list(hours.items())[-48:]:
        console.print(f"{clock(hour)[:13]}h {count:>7,} {'█' * round(40 * count / most)}")


def _print_each(dead_letters: list[DeadLetter]) -> None:
    table = Table("letter", "state", "tries", "found (UTC)", "from", "user", "steps", "reason", box=None)
    for dead_letter in dead_letters:
        last = dead_letter.last
        row: tuple[Any, ...] = (
            dead_letter.id,
            dead_letter.state,
            str(dead_letter.attempts),
            clock(last.found),
            str(last.place),
        )
        table.add_row(*row, dead_letter.user or "", ", ".join(dead_letter.steps), dead_letter.reason)
    print_table(table, folding=("reason",))


def _print_outcome(outcome: "Outcome", *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    none = (
        "" if outcome.redriven or outcome.kept else " (no open dead letter is meant; --again also takes redriven ones)"
    )
    say(f"{len(outcome.redriven):,} {would}redriven, {len(outcome.kept):,} kept{none}")
    kept: dict[str, list[str]] = {}
    for dead_letter, why in outcome.kept:
        kept.setdefault(why, []).append(dead_letter.id)
    for why, names in sorted(kept.items(), key=lambda item: -len(item[1]))[:_REASONS_SAID]:
        more = " …" if len(names) > _EXAMPLES else ""
        say(f"  {len(names):,} kept: {why}")
        say(f"    {' '.join(names[:_EXAMPLES])}{more}")
