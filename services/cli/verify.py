"""`animusic verify`: compares Redis and ClickHouse with the log."""

import asyncio
import dataclasses
import json
import sys
import time
from typing import Annotated

import httpx
import typer
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from services.cli.progress import say
from services.common.settings import Settings
from services.operator.readers.clickhouse import ClickhouseRefused
from services.operator.verify.checking import verify
from services.operator.verify.model import AT_LEAST, CannotCompare, Fault, Report, Sample

_COULD_NOT: int = 2
_LINE_SECONDS = 5.0
_AWAY = (
    CannotCompare, ClickhouseRefused, KafkaError, RedisError, httpx.HTTPError, ConnectionError, LookupError,
    TimeoutError,
)  # fmt: skip


def command(
    *,
    sample: Annotated[
        str,
        typer.Option(
            help="Share of the listeners that is compared register by register: 1%, 100%, 0.05; "
            f"{AT_LEAST} of them at least, or all."
        ),
    ] = "1%",
    user: Annotated[list[str] | None, typer.Option(help="This listener instead; may be repeated.")] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for stores that are behind the log.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="One object.")] = False,
) -> None:
    """Compare the log with Redis and ClickHouse on a live system: a sample of listeners, and every row.

    Exit code 0: equal. 1: they differ, and each difference is named. 2: they could not be compared. 3: there was
    nothing to compare.
    """
    chosen = Sample(_share(sample), frozenset(user or ()))
    try:
        report = asyncio.run(verify(Settings(), chosen, _Lines().tell, seconds=wait, say=say))
    except _AWAY as error:
        say(f"could not be compared: {error or type(error).__name__}")
        raise typer.Exit(_COULD_NOT) from error
    if as_json:
        json.dump({**dataclasses.asdict(report), "code": report.code}, sys.stdout, indent=2)
        print()
    else:
        _print(report, chosen)
    raise typer.Exit(report.code)


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise typer.BadParameter(f"{text!r} is no share; write 1%, 100% or 0.05")
    return share


class _Lines:
    """A line every five seconds: on a small log there is nothing to wait for."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def tell(self, what: str, done: int, total: int) -> None:
        if time.monotonic() - self._at > _LINE_SECONDS:
            self._at = time.monotonic()
            say(f"verify: {done} of {total} {what}")


def _print(report: Report, chosen: Sample) -> None:
    print(
        f"{report.rows:,} records of the log and {report.songs:,} songs against their rows; "
        f"{_whom(report, chosen)} with {report.registers:,} registers, {report.lists:,} anime lists and histories, "
        "against Redis and ClickHouse; "
        f"{report.seconds:.1f} s"
    )
    if report.dead_letters:
        print(
            f"{report.dead_letters:,} records are dead letters, which explains why they had no effect (`animusic dlq`)"
        )
    for note in report.notes:
        print(f"note: {note}")
    for fault in report.faults:
        _print_fault(fault)
    if report.unsettled:
        print(f"these listeners wrote too often to be compared: {', '.join(report.unsettled[:10])}; try again")
    if report.found:
        print(f"{report.found:,} differences")
        for advice in dict.fromkeys(fault.advice for fault in report.faults):
            print(f"  {advice}")
    elif report.empty:
        print(f"nothing to compare: {_why_nothing(chosen)}")
    elif not report.unsettled:
        print("equal")


def _whom(report: Report, chosen: Sample) -> str:
    if chosen.users:
        return f"{report.users:,} of {len(chosen.users):,} named listeners"
    share = "all" if report.sample >= 1 else f"a sample of {report.sample:.2%}"
    return f"{report.users:,} listeners with events ({share} of {report.listeners:,})"


def _why_nothing(chosen: Sample) -> str:
    if chosen.users:
        return "neither the log nor the stores have the named listeners"
    return "no listener has used the system yet, or the log has expired"


def _print_fault(fault: Fault) -> None:
    print(f"{fault.store}: {fault.kind}: {', '.join(part for part in (fault.user, fault.field) if part)}")
    if fault.log or fault.store_holds:
        print(f"    log:   {fault.log or 'nothing'}")
        print(f"    store: {fault.store_holds or 'nothing'}")
    if fault.places:
        print(f"    made by {', '.join(fault.places[:8])}")
