"""The second set of tables of a rebuild, in a database of its own: made, compared with the live ones, exchanged.

Tables are exchanged one by one, each atomically. Views and materialised views name their tables, so they follow by
themselves. Which tables are to come is noted before the first exchange: a killed switch is brought to its end at the
next start, before anything is inserted.
"""

import logging
import re
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from services.common.clickhouse import DATABASE, Clickhouse
from services.warehouse.migrations import migrations

NEXT: Final = f"{DATABASE}_next"
BEFORE: Final = f"{DATABASE}_before"
# Of compacted topics the live tables also hold states that the log has dropped: what must be equal is the last of each.
STATES: Final = {"catalogue": "songs", "model_switches": "live_models"}
# What the log may not tell any more comes from the live tables: who is forgotten (for ever), which records were lost
# before they came, and what a topic told that expires.
CARRIED: Final = ("forgotten", "gaps", "ledger_spans", "ledger_folded", "probe_rounds")
_NOT_COMPARED: Final = frozenset({"marks", *CARRIED, *STATES})
_log = logging.getLogger("animusic.warehouse")


@dataclass(frozen=True)
class TableParity:
    """One table, or what stands for it, in both databases: rows after deduplication, and the sum of their hashes."""

    table: str
    live_rows: int
    next_rows: int
    live_digest: str
    next_digest: str

    @property
    def equal(self) -> bool:
        """Whether both hold the same rows."""
        return (self.live_rows, self.live_digest) == (self.next_rows, self.next_digest)


def exists(clickhouse: Clickhouse, database: str = NEXT) -> bool:
    """Whether there is such a database."""
    found = clickhouse.query("SELECT count() AS n FROM system.databases WHERE name = {name:String}", {"name": database})
    return bool(found["n"][0].as_py())


def make(clickhouse: Clickhouse) -> None:
    """The tables and views of every migration, in the second database; harmless where they are there."""
    clickhouse.command(f"CREATE DATABASE IF NOT EXISTS {NEXT}")
    for migration in migrations():
        for statement in migration.statements():
            clickhouse.command(re.sub(rf"\b{DATABASE}\.", f"{NEXT}.", statement))


def drop(clickhouse: Clickhouse, database: str = NEXT) -> None:
    """Throw a database away."""
    clickhouse.command(f"DROP DATABASE IF EXISTS {database} SYNC")


def carry_over(clickhouse: Clickhouse) -> None:
    """Copy the rows of the CARRIED tables; copied twice they count once."""
    for table in CARRIED:
        columns = ", ".join(f"`{name}`" for name, _ in _columns(clickhouse, table))
        clickhouse.command(f"INSERT INTO {NEXT}.{table} ({columns}) SELECT {columns} FROM {DATABASE}.{table}")


def rebuilt_tables(clickhouse: Clickhouse) -> list[str]:
    """The tables that are exchanged: all that hold rows but the list of migrations."""
    found = clickhouse.query(
        "SELECT name FROM system.tables WHERE database = {database:String} AND engine LIKE '%MergeTree' "
        "AND name != 'migrations' ORDER BY name",
        {"database": DATABASE},
    )
    return [str(name) for name in found["name"].to_pylist()]


# ---- parity -----------------------------------------------------------------------------------------------------


def compare(clickhouse: Clickhouse) -> list[TableParity]:
    """Every table in both databases; nothing may be inserted into either meanwhile, and their marks must be equal."""
    whole = [table for table in rebuilt_tables(clickhouse) if table not in _NOT_COMPARED]
    sources = {table: f"(SELECT * FROM {{}}.{table} FINAL)" for table in whole}
    sources["forgotten"] = "(SELECT DISTINCT user_id FROM {}.forgotten)"
    sources |= {table: f"{{}}.{view}" for table, view in STATES.items()}
    return [_parity(clickhouse, table, source) for table, source in sources.items()]


def _parity(clickhouse: Clickhouse, table: str, source: str) -> TableParity:
    columns = [("user_id", "String")] if table == "forgotten" else _columns(clickhouse, STATES.get(table, table))
    hashed = ", ".join(_hashable(name, kind) for name, kind in columns)
    sides = []
    for database in (DATABASE, NEXT):
        found = clickhouse.query(
            f"SELECT count() AS n, lower(hex(sum(cityHash64({hashed})))) AS digest FROM {source.format(database)}"
        ).to_pylist()[0]
        sides.append((found["n"], found["digest"]))
    (live, live_digest), (new, new_digest) = sides
    return TableParity(table, live, new, live_digest, new_digest)


def _columns(clickhouse: Clickhouse, table: str) -> list[tuple[str, str]]:
    """(name, type) of the columns that the log decides: not the time of insertion."""
    found = clickhouse.query(
        "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {table:String} "
        "AND name != 'inserted_at' ORDER BY position",
        {"database": DATABASE, "table": table},
    )
    return list(zip(found["name"].to_pylist(), found["type"].to_pylist(), strict=True))


def _hashable(name: str, kind: str) -> str:
    # A NULL among its arguments makes a hash NULL, and a sum leaves it out.
    if "Nullable" in kind:
        return f"ifNull(toString(`{name}`), 'NULL')"
    return f"toString(`{name}`)" if kind.startswith("Map") else f"`{name}`"


# ---- the switch -------------------------------------------------------------------------------------------------


def switch(clickhouse: Clickhouse, *, keep: bool) -> None:
    """Exchange every table with its twin, and drop what was live (`keep`: leave it as the database animusic_before).

    Nothing may be inserted meanwhile. Killed in between, `finish_switch` goes on.
    """
    clickhouse.command(
        f"CREATE TABLE IF NOT EXISTS {NEXT}.switching (table String, uuid String, keep Bool) "
        "ENGINE = MergeTree ORDER BY table"
    )
    uuids = _uuids(clickhouse, NEXT)
    rows = [{"table": table, "uuid": uuids[table], "keep": keep} for table in rebuilt_tables(clickhouse)]
    # One insert is one part: all of it is there, or nothing.
    clickhouse.insert(f"{NEXT}.switching", pa.Table.from_pylist(rows))
    finish_switch(clickhouse)


def finish_switch(clickhouse: Clickhouse) -> bool:
    """Bring a switch that was begun to its end; returns whether there was one."""
    if not exists(clickhouse) or "switching" not in _uuids(clickhouse, NEXT):
        return False
    wanted = clickhouse.query(f"SELECT DISTINCT table, uuid, keep FROM {NEXT}.switching").to_pylist()
    if not wanted:
        return False
    live = _uuids(clickhouse, DATABASE)
    for row in wanted:
        if live[row["table"]] != row["uuid"]:
            clickhouse.command(f"EXCHANGE TABLES {DATABASE}.{row['table']} AND {NEXT}.{row['table']}")
    _log.warning("the rebuilt tables are live: %d were exchanged", len(wanted))
    if wanted[0]["keep"]:
        _keep_former(clickhouse)
    else:
        drop(clickhouse)
    return True


def _keep_former(clickhouse: Clickhouse) -> None:
    """The former tables as a database of their own, without the views, which name their tables with a database."""
    drop(clickhouse, BEFORE)
    found = clickhouse.query(
        "SELECT name FROM system.tables WHERE database = {database:String} AND engine LIKE '%View'", {"database": NEXT}
    )
    for name in found["name"].to_pylist():
        clickhouse.command(f"DROP VIEW IF EXISTS {NEXT}.{name} SYNC")
    clickhouse.command(f"RENAME DATABASE {NEXT} TO {BEFORE}")
    clickhouse.command(f"DROP TABLE IF EXISTS {BEFORE}.switching SYNC")


def _uuids(clickhouse: Clickhouse, database: str) -> dict[str, str]:
    found = clickhouse.query(
        "SELECT name, toString(uuid) AS id FROM system.tables WHERE database = {database:String}",
        {"database": database},
    )
    return dict(zip(found["name"].to_pylist(), found["id"].to_pylist(), strict=True))
