"""chDB for tests: a process can have one engine on one directory, so every test of a run shares this one, emptied."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from services.common.clickhouse import ChdbConnection, ChdbEngine
from services.warehouse.migrations import migrate

TABLES = (
    "feedback", "playlists", "served_slots", "catalogue", "model_switches", "forgotten", "marks", "gaps",
    "registers", "vetoes", "played", "slot_outcomes",
)  # fmt: skip


@cache
def engine() -> ChdbEngine:
    """The engine of this process, migrated."""
    directory = Path(tempfile.mkdtemp(prefix="animusic-chdb-"))
    made = ChdbEngine(directory, 1_500)
    connection = made.connect()
    migrate(connection)

    def end() -> None:
        connection.close()
        shutil.rmtree(directory, ignore_errors=True)

    atexit.register(end)
    return made


def empty(connection: ChdbConnection) -> None:
    """Forget every row, so that a test sees only its own."""
    for table in TABLES:
        connection.command(f"TRUNCATE TABLE animusic.{table}")
