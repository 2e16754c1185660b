"""`animusic ledger`: counts accepted events against the log and the stores."""

import asyncio
import time
from contextlib import aclosing
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from contracts.topics import LEDGER
from services.cli.findings import lines
from services.cli.progress import say
from services.common.settings import Settings
from services.common.tables import print_block
from services.operator.ledger.entries import NOTHING, Entry, Ledger, read_ledger
from services.operator.readers.clickhouse import ClickhouseReader, warehouse_lacks

_ASK_SECONDS = 60.0
_WAIT_SECONDS = 20.0
_POLL_SECONDS = 0.5
_HEADS = {
    0: ("nothing is lost", "green"),
    1: ("action needed", "red"),
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
    was no event to count. Unaccounted events and clients' retries are shown; they are harmless.
    """
    ledger = asyncio.run(_run(Settings(), hours, every if watch else None, partitions=partitions, as_json=as_json))
    raise typer.Exit(ledger.code)


async def _run(settings: Settings, hours: int, every: float | None, *, partitions: bool, as_json: bool) -> Ledger:
    console = Console()
    async with aclosing(ClickhouseReader(settings.clickhouse, _ASK_SECONDS)) as warehouse:
        await warehouse_lacks(settings, [LEDGER.name], _WAIT_SECONDS, say)
        ledger = await _counted(warehouse, hours)
        if every is None or as_json or not console.is_terminal:
            _print(ledger, partitions=partitions, as_json=as_json)
        if every is None:
            return ledger
        if as_json or not console.is_terminal:
            while True:
                await asyncio.sleep(every)
                _print(await read_ledger(warehouse, hours), partitions=partitions, as_json=as_json)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(Group(*_page(ledger, partitions=partitions)), refresh=True)
                await asyncio.sleep(every)
                ledger = await read_ledger(warehouse, hours)


async def _counted(warehouse: ClickhouseReader, hours: int) -> Ledger:
    """The ledger, once the topic was counted: the probe of a system that has just started does it within seconds."""
    ledger, deadline = await read_ledger(warehouse, hours), time.monotonic() + _WAIT_SECONDS
    if ledger.counted_seconds is None:
        say("waiting for the probe's first count of the topic")
    while ledger.counted_seconds is None and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_SECONDS)
        ledger = await read_ledger(warehouse, hours)
    return ledger


def _print(ledger: Ledger, *, partitions: bool, as_json: bool) -> None:
    if as_json:
        print(ledger.model_dump_json(by_alias=True), flush=True)
    else:
        for block in _page(ledger, partitions=partitions):
            print_block(block)


def _page(ledger: Ledger, *, partitions: bool) -> list[Text | Table]:
    headline, colour = _HEADS[ledger.code]
    blocks: list[Text | Table] = [Text(f"{headline} at {time.strftime('%H:%M:%S')}", style=f"bold {colour}")]
    entries = ledger.entries if partitions else ledger.hours()
    blocks += [*lines(ledger.findings, ok="·"), Text(), _table(entries, ledger.total())]
    if ledger.freshness:
        blocks += [Text(), _freshness(ledger.freshness)]
    return blocks


def _table(entries: list[Entry], total: Entry) -> Table:
    table = Table("hour (UTC)", *_COLUMNS, box=None, pad_edge=False, header_style="dim")
    for column in table.columns[1:]:
        column.justify = "right"
    for entry in [*entries, *([total] if len(entries) > 1 else [])]:
        name = entry.hour if entry.partition is None else f"{entry.hour} /{entry.partition}"
        counts = (entry.accepted, entry.in_topic, entry.in_clickhouse, entry.used, entry.lost)
        table.add_row(
            name, *(f"{count:,}" for count in counts), f"{entry.loss_ppm:,.1f}", f"{entry.duplicates:,}",
            f"{entry.duplicates_ppm:,.1f}", f"{entry.unaccounted:,}", f"{entry.waiting:,}",
        )  # fmt: skip
    return table


def _freshness(row: dict[str, object]) -> Text:
    legs = ", ".join(f"{leg} {_ms(row[f'{leg}_p50'])} / {_ms(row[f'{leg}_p99'])}" for leg in _LEGS)
    failed = f", {row['failed']} did not end well ({row['last_trouble']})" if int(str(row["failed"])) else ""
    return Text(f"freshness this hour, p50 / p99 of {row['rounds']} rounds: {legs}{failed}")


def _ms(value: object) -> str:
    return "-" if value is None else f"{float(str(value)):,.0f} ms"
