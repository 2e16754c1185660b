"""`animusic sql`: ask the warehouse."""

import os
import sys
from typing import Annotated

import httpx
import typer

from services.common.settings import Settings

_ENOUGH_SECONDS = 60.0


def command(
    query: Annotated[str, typer.Argument(help="a SELECT, SHOW, DESCRIBE or EXPLAIN; `-` reads it from standard input")],
    output: Annotated[
        str | None,
        typer.Option("--format", help="a ClickHouse format: CSVWithNames, JSON, Parquet …; unset: a table to look at"),
    ] = None,
) -> None:
    """Ask the warehouse in ClickHouse's SQL. `SHOW TABLES` lists tables and views; start with `exposure_curve`.

    Only reading is possible, within limits of time and memory.
    """
    settings = Settings()
    # Bytes, as they were typed: what is not UTF-8 is for the endpoint to say.
    statement = sys.stdin.buffer.read() if query == "-" else os.fsencode(query)
    wanted = output or ("PrettyCompact" if sys.stdout.isatty() else "PrettyCompactNoEscapes")
    answer = httpx.post(
        settings.clickhouse.dsn, params=_parameters(settings, wanted), content=statement, timeout=_ENOUGH_SECONDS
    )
    if answer.is_error:
        print(answer.text.strip(), file=sys.stderr)
        raise typer.Exit(1)
    sys.stdout.buffer.write(answer.content)
    if output is None and not answer.content.strip():
        # A table without rows prints nothing, which looks like a failure.
        print("no rows", file=sys.stderr)


def _parameters(settings: Settings, wanted: str) -> dict[str, str]:
    """The format, and where the warehouse's own endpoint does not see to it, that the statement only reads."""
    # The user in a server's address is the one who writes.
    return {"default_format": wanted, **({"readonly": "1"} if settings.clickhouse.external else {})}
