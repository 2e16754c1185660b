"""`animusic ledger`: is anything lost?"""

import asyncio
import json
import time
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from contracts.topics import LEDGER
from services.cli.progress import say
from services.common.settings import Settings
from services.common.tables import print_block
from services.operator.ledger.asking import Sql
from services.operator.ledger.books import NOTHING, Books, Line, opened
from services.operator.reaching import warehouse_lacks

_ASK_SECONDS = 60.0
_WAIT_SECONDS = 20.0
_POLL_SECONDS = 0.5
_HEADS = {
    0: ("nothing is lost", "green"),
    1: ("something needs you", "red"),
    NOTHING: ("nothing to count: there was no event", "yellow"),
}
_COLUMNS = (
    "accepted", "in topic", "in ClickHouse", "used", "lost", "loss ppm", "again", "again ppm", "unaccounted", "waiting",
)  # fmt: skip
_LEGS = ("accepted", "profile", "playlist", "warehouse")


def command(
    *,
    hours: Annotated[int, typer.Option(min=1, max=48, help="How many hours back.")] = 24,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between looks.", metavar="SECONDS")] = 10.0,
    partitions: Annotated[bool, typer.Option("--partitions", help="A line a partition, not an hour.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a look, for scripts.")] = False,
) -> None:
    """What the gateway accepted, the topic holds, ClickHouse holds and the fold used, hour by hour.

    Exits with 1 when something is lost, counts twice after the fold, or stands still; what to do is printed. 3: there
    was no event to count. Unaccounted events and clients' retries are told, and harmless.
    """
    books = asyncio.run(_run(Settings(), hours, every if watch else None, partitions=partitions, as_json=as_json))
    raise typer.Exit(books.code)


async def _run(settings: Settings, hours: int, every: float | None, *, partitions: bool, as_json: bool) -> Books:
    sql, console = Sql(settings.clickhouse.dsn, _ASK_SECONDS), Console()
    try:
        await warehouse_lacks(settings, [LEDGER.name], _WAIT_SECONDS, say)
        books = await _counted(sql, hours)
        if every is None or as_json or not console.is_terminal:
            _print(books, partitions=partitions, as_json=as_json)
        if every is None:
            return books
        if as_json or not console.is_terminal:
            while True:
                await asyncio.sleep(every)
                _print(await opened(sql, hours), partitions=partitions, as_json=as_json)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(Group(*_page(books, partitions=partitions)), refresh=True)
                await asyncio.sleep(every)
                books = await opened(sql, hours)
    finally:
        await sql.close()


async def _counted(sql: Sql, hours: int) -> Books:
    """The books, once the topic was counted: the probe of a system that has just started does it within seconds."""
    books, deadline = await opened(sql, hours), time.monotonic() + _WAIT_SECONDS
    if books.counted_seconds is None:
        say("waiting for the probe's first count of the topic")
    while books.counted_seconds is None and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_SECONDS)
        books = await opened(sql, hours)
    return books


def _print(books: Books, *, partitions: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps(books.as_json(), ensure_ascii=False), flush=True)
    else:
        for block in _page(books, partitions=partitions):
            print_block(block)


def _page(books: Books, *, partitions: bool) -> list[Text | Table]:
    said, colour = _HEADS[books.code]
    blocks: list[Text | Table] = [Text(f"{said} at {time.strftime('%H:%M:%S')}", style=f"bold {colour}")]
    for finding in books.findings():
        sign, style = {"ok": ("·", "dim"), "warn": ("!", "yellow"), "fail": ("✗", "red")}[finding.state]
        line = Text.assemble((f"{sign} {finding.name}: ", style), finding.detail)
        blocks.append(line.append(f"\n  → {finding.remedy} ({finding.page})", style="dim" if sign == "·" else "bold"))
    blocks += [Text(), _table(books.lines if partitions else books.hours(), books.total())]
    if books.freshness:
        blocks += [Text(), _freshness(books.freshness)]
    return blocks


def _table(lines: list[Line], total: Line) -> Table:
    table = Table("hour (UTC)", *_COLUMNS, box=None, pad_edge=False, header_style="dim")
    for column in table.columns[1:]:
        column.justify = "right"
    for line in [*lines, *([total] if len(lines) > 1 else [])]:
        name = line.hour if line.partition is None else f"{line.hour} /{line.partition}"
        counts = (line.accepted, line.in_topic, line.in_clickhouse, line.used, line.lost)
        table.add_row(
            name, *(f"{count:,}" for count in counts), f"{line.loss_ppm:,.1f}", f"{line.duplicates:,}",
            f"{line.duplicates_ppm:,.1f}", f"{line.unaccounted:,}", f"{line.waiting:,}",
        )  # fmt: skip
    return table


def _freshness(row: dict[str, object]) -> Text:
    legs = ", ".join(f"{leg} {_ms(row[f'{leg}_p50'])} / {_ms(row[f'{leg}_p99'])}" for leg in _LEGS)
    failed = f", {row['failed']} did not end well ({row['last_trouble']})" if int(str(row["failed"])) else ""
    return Text(f"freshness this hour, p50 / p99 of {row['rounds']} rounds: {legs}{failed}")


def _ms(value: object) -> str:
    return "-" if value is None else f"{float(str(value)):,.0f} ms"
