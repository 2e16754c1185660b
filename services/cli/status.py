"""`animusic status`: the health of the running system, and what to do."""

import asyncio
import logging
import time
from typing import Annotated, Final

import typer
from pydantic_core import to_json
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from services.cli.findings import lines
from services.common.settings import Settings
from services.common.tables import print_block
from services.local.layout import Layout, read_json
from services.operator.status.collector import StatusCollector
from services.operator.status.judging import Limits, age
from services.operator.status.model import Lag, Status

_WORDS: Final = ("healthy", "degraded", "broken")
_COLOURS: Final = ("green", "yellow", "red")
_GB: Final = 2**30
_HEALTH: Final = "health"
_DEFAULT = Limits()


def command(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between looks.", metavar="SECONDS")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a look, for scripts.")] = False,
    partitions: Annotated[bool, typer.Option("--partitions", help="A line a partition, not a topic.")] = False,
    lag: Annotated[int, typer.Option(min=0, help="Records behind that are a finding.")] = _DEFAULT.lag,
    oldest: Annotated[
        float, typer.Option(min=0, help="Age of an unhandled record that is one.", metavar="SECONDS")
    ] = _DEFAULT.oldest_seconds,
    hours: Annotated[int, typer.Option(min=1, help="How long dead letters and gaps are new.")] = _DEFAULT.hours,
) -> None:
    """Ask every part of the system: its health, how far it is behind the log, and what to do where it is not well.

    Where nothing runs it says so, and whether this machine has what a start needs. Lag is counted from the stores' own
    marks. Exit code 0: healthy. 1: degraded (something lags, new dead letters, gaps). 2: a part does not answer, or
    nothing runs.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    settings = Settings()
    layout = Layout(settings.data_dir.absolute())
    collector = StatusCollector(settings, Limits(lag, oldest, hours), lambda: read_json(layout.status))
    if watch:
        asyncio.run(_watch(collector, every, as_json=as_json, partitions=partitions))
        return
    status = asyncio.run(collector.collect())
    if as_json:
        print(_json(status))
    else:
        for block in _page(status, partitions=partitions):
            print_block(block, folding=(_HEALTH,))
    raise typer.Exit(status.code)


async def _watch(collector: StatusCollector, every: float, *, as_json: bool, partitions: bool) -> None:
    console = Console()
    if as_json or not console.is_terminal:
        while True:
            status = await collector.collect()
            print(_json(status) if as_json else _line(status), flush=True)
            await asyncio.sleep(every)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            status = await collector.collect()
            live.update(Group(*_page(status, partitions=partitions)), refresh=True)
            await asyncio.sleep(every)


def _json(status: Status) -> str:
    return to_json(status).decode()


def _line(status: Status) -> str:
    behind = sum(lag.lag for lag in status.lags)
    wrong = "; ".join(f"{finding.name}: {finding.detail}" for finding in status.findings)
    return f"{_clock(status.at_ms)} {_WORDS[status.code]}, {behind:,} behind{': ' if wrong else ''}{wrong}"


def _page(status: Status, *, partitions: bool) -> list[Text | Table]:
    head = Text(f"{_WORDS[status.code]} at {_clock(status.at_ms)}", style=f"bold {_COLOURS[status.code]}")
    well = (finding for finding in status.machine if finding.state == "ok")
    blocks: list[Text | Table] = [head, *lines(status.findings), *lines(well), Text(), _parts(status)]
    if status.lags:
        blocks += [Text(), _lags(status.lags, partitions=partitions)]
    return blocks


def _parts(status: Status) -> Table:
    table = _table("part", _HEALTH)
    log, redis, clickhouse, disk = status.log, status.redis, status.clickhouse, status.disk
    table.add_row("log", log.trouble or f"{log.brokers} brokers, {log.topics} topics, {log.records:,} records followed")
    table.add_row(
        "dead letters",
        f"{log.dead_letters.open} open of {log.dead_letters.total}; {log.dead_letters.last_reason or 'none'}",
    )
    models = ", ".join(f"{arm} {version}" for arm, version in sorted((log.models or {}).items()))
    table.add_row("models live", models or "none")
    saved = "append-only file" if redis.append_only else "no append-only file"
    about = f"{redis.version}, generation {redis.generation or '-'}, {_size(redis.used_bytes)} used, {saved}"
    table.add_row("redis", redis.trouble or about)
    if redis.rebuild:
        table.add_row("rebuild", redis.rebuild)
    about = (
        f"{clickhouse.version}, {clickhouse.rows:,} rows in {clickhouse.parts} parts, {_size(clickhouse.bytes_on_disk)}"
    )
    table.add_row("clickhouse", clickhouse.trouble or f"{about}, {clickhouse.gaps.noted} gaps noted")
    sizes = ", ".join(f"{name} {_size(size)}" for name, size in sorted(disk.used.items(), key=lambda kv: -kv[1])[:5])
    table.add_row("disk", disk.trouble or f"{_size(disk.free)} free of {_size(disk.size)}; {sizes}")
    children = {process.name: process for process in status.processes}
    for service in status.services:
        child = children.get(service.name)
        restarts = f", {child.restarts} restarts" if child else ""
        behind = "".join(f", {lag:,} behind in {what}" for what, lag in service.behind.items() if lag)
        health = "ready" if service.ready else service.detail
        table.add_row(service.name, f"{health} at {service.url}{behind}{restarts}")
        if service.rebuild:
            table.add_row(f"{service.name}'s rebuild", service.rebuild)
    for child in children.values():
        if child.name not in {service.name for service in status.services}:
            table.add_row(f"{child.name} (process)", f"{child.state}, {child.restarts} restarts")
    return table


def _lags(lags: list[Lag], *, partitions: bool) -> Table:
    table = _table("group", "topic", "lag", "in/s", "handled/s", "oldest", "end", "mark", "committed")
    for number, column in enumerate(table.columns):
        column.no_wrap = True
        column.justify = "right" if number > 1 else "left"
    rows: dict[tuple[str, ...], list[Lag]] = {}
    for lag in lags:
        place = f"{lag.topic}/{lag.partition}" if partitions else lag.topic
        rows.setdefault((lag.group, place), []).append(lag)
    for (group, place), held in rows.items():
        oldest = max((lag.oldest_seconds for lag in held if lag.oldest_seconds is not None), default=None)
        table.add_row(
            group, place, f"{sum(lag.lag for lag in held):,}", _rate([lag.incoming for lag in held]),
            _rate([lag.handled for lag in held]), "-" if oldest is None else age(oldest),
            *(f"{sum(number or 0 for number in numbers):,}" for numbers in (
                [lag.end for lag in held], [lag.mark for lag in held], [lag.committed for lag in held])),
        )  # fmt: skip
    return table


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False, header_style="dim")


def _rate(rates: list[float | None]) -> str:
    known = [rate for rate in rates if rate is not None]
    return f"{sum(known):,.0f}" if known else "-"


def _size(count: int) -> str:
    return f"{count / _GB:.1f} GB" if count >= _GB else f"{count / 2**20:.0f} MB"


def _clock(at_ms: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at_ms / 1000))
