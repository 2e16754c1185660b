"""chDB for tests: a process can have one engine on one directory, so every test of a run shares this one, emptied."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from services.common.clickhouse import ChdbConnection, ChdbEngine
from services.common.process.identity import ProcessIdentity
from services.warehouse.migrations import migrate

# The process that the tests' endpoints say they are.
ME = ProcessIdentity("warehouse", "a" * 32, 7)
TABLES = (
    "feedback", "playlists", "served_slots", "catalogue", "model_switches", "model_builds", "forgotten", "marks",
    "gaps", "registers", "vetoes", "played", "slot_outcomes", "ledger_spans", "ledger_folded", "probe_rounds",
)  # fmt: skip


@cache
def data_dir() -> Path:
    """The data directory of this process's engine: a warehouse that a test starts must be given it."""
    return Path(tempfile.mkdtemp(prefix="animusic-chdb-"))


@cache
def engine() -> ChdbEngine:
    """The engine of this process, migrated."""
    made = ChdbEngine(data_dir() / "clickhouse", 1_500)
    connection = made.connect()
    migrate(connection)

    def end() -> None:
        connection.close()
        shutil.rmtree(data_dir(), ignore_errors=True)

    atexit.register(end)
    return made


def empty(connection: ChdbConnection) -> None:
    """Forget every row, so that a test sees only its own."""
    for table in TABLES:
        connection.command(f"TRUNCATE TABLE animusic.{table}")
