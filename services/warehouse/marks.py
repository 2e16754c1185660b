"""The table of high-water marks, and how a mark is checked before a consumer trusts it.

Tables can be emptied or dropped at any moment of a flush: before its rows, between its rows and its marks, between its
marks and the end of the process. No order of looks and inserts tells all of these apart by the marks alone, since a
mark that is inserted into an emptied table looks like any other. So the table has a *beginning*: one row with a random
number, inserted while there are no marks (by migration 0007, or here), which goes when the table is emptied.

- A flush reads the beginning before its rows, and again after its marks. The same number twice: the table was not
  emptied from before the first row to after the last mark, so the marks stand for what is there.
- Another number, or none: they may stand for nothing. They are thrown away and the slices refused, so the log is read
  again from its start; rows that are there twice count once.
- A process that ends between its marks and the second look leaves marks without a beginning, if there was a wipe.
  The next reader (the same process after its restart) finds no beginning and throws them away.

What is left: tables emptied one by one *with the marks first*, the rest more than `SETTLE_SECONDS` later.
"""

import logging
import re
import secrets
import time
from typing import Final, NamedTuple

import pyarrow as pa

from contracts.marks import MarkName
from services.common.clickhouse import DATABASE, Clickhouse
from services.warehouse.migrations import migrate, migrations

# Whoever empties or drops tables does it one by one: so long nothing is inserted after that was noticed.
SETTLE_SECONDS: Final = 2.0
_BEGINNING: Final = MarkName("", 0)
_MADE: Final = re.compile(rf"CREATE (?:TABLE|MATERIALIZED VIEW) IF NOT EXISTS {DATABASE}\.(\w+)")
_log = logging.getLogger("animusic.warehouse")
Marks = dict[MarkName, int]


class MarkState(NamedTuple):
    """What the table says: the number of its beginning, and the marks."""

    beginning: int
    marks: Marks


class MarkTable:
    """The marks of the live tables, for one writer. Blocks; every method may raise ClickhouseError."""

    def __init__(self, clickhouse: Clickhouse, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._clickhouse = clickhouse
        self._settle_seconds = settle_seconds
        self._seen = False
        self._wanted = frozenset(name for each in migrations() for name in _MADE.findall(each.text))

    def read(self) -> MarkState:
        """The marks; where the table was emptied it gets another beginning, and no mark counts."""
        state = self._state() or self._new_beginning()
        self._seen = True
        return state

    def recreate_missing(self) -> None:
        """Make again what was dropped without being missed by an insert: the marks would claim its rows for ever."""
        found = self._clickhouse.query(f"SELECT name FROM system.tables WHERE database = '{DATABASE}'")
        missing = sorted(self._wanted - set(found["name"].to_pylist()))
        if missing:
            self.recreate_dropped(", ".join(missing))

    def write(self, marks: pa.Table, since: MarkState) -> bool:
        """Insert marks for rows that were inserted after `since` was read. Whether they count."""
        self._clickhouse.insert(f"{DATABASE}.marks", marks)
        now = self._state()
        if now is not None and now.beginning == since.beginning:
            return True
        _log.error("the tables were emptied during a flush: its marks are thrown away, and the log is read again")
        self._clickhouse.command(f"TRUNCATE TABLE {DATABASE}.marks")
        return False

    def recreate_dropped(self, missing: str) -> None:
        """Make what was dropped, of the tables and views; nothing is marked afterwards, so the log fills them."""
        _log.error("dropped: %s; made again in %g s, and filled from the log", missing, self._settle_seconds)
        time.sleep(self._settle_seconds)
        self._clickhouse.command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        # The marks go first: killed in between, there is still a table missing, and this is done again.
        self._clickhouse.command(f"DROP TABLE IF EXISTS {DATABASE}.marks SYNC")
        self._clickhouse.command(f"DROP TABLE IF EXISTS {DATABASE}.migrations SYNC")
        made = migrate(self._clickhouse)
        _log.warning("the tables are there again (%d migrations); the log is read from its start", len(made))

    def _new_beginning(self) -> MarkState:
        if self._seen:
            _log.error("the marks are gone, tables were emptied: in %g s the log is read again", self._settle_seconds)
            time.sleep(self._settle_seconds)
            found = self._state()
            if found is not None:
                return found
        self._clickhouse.command(f"TRUNCATE TABLE {DATABASE}.marks")
        beginning = MarkState(secrets.randbits(63), {})
        row = {"topic_id": pa.array([""], pa.string()), "topic": pa.array(["beginning"], pa.string())}
        numbers = {"partition": pa.array([0], pa.uint32()), "mark": pa.array([beginning.beginning], pa.uint64())}
        self._clickhouse.insert(f"{DATABASE}.marks", pa.table({**row, **numbers}))
        return beginning

    def _state(self) -> MarkState | None:
        """None where the table has no beginning."""
        marks = _read(self._clickhouse, DATABASE)
        beginning = marks.pop(_BEGINNING, None)
        return None if beginning is None else MarkState(beginning, marks)


def stored_marks(clickhouse: Clickhouse, database: str = DATABASE) -> Marks:
    """The marks that a database of the warehouse holds. Raises ClickhouseError."""
    marks = _read(clickhouse, database)
    marks.pop(_BEGINNING, None)
    return marks


def _read(clickhouse: Clickhouse, database: str) -> Marks:
    found = clickhouse.query(
        f"SELECT topic_id, `partition`, max(mark) AS mark FROM {database}.marks GROUP BY topic_id, `partition`"
    )
    return {MarkName(row["topic_id"], row["partition"]): row["mark"] for row in found.to_pylist()}
