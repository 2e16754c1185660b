"""The tables and views of the warehouse: numbered files in ddl/, applied in order, once.

Every statement can be run again, so a migration that a kill interrupted is simply run once more.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

import pyarrow as pa

from services.common.clickhouse import DATABASE, Clickhouse

DDL: Final[Traversable] = files("services.warehouse") / "ddl"
_NAME = re.compile(r"^(\d{4})_(\w+)\.sql$")
_log = logging.getLogger("animusic.warehouse")
_TABLE: Final = f"""
CREATE TABLE IF NOT EXISTS {DATABASE}.migrations
(number UInt32, name String, digest String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'))
ENGINE = ReplacingMergeTree ORDER BY number
"""


@dataclass(frozen=True)
class Migration:
    """One file. `digest` is of its text, so that a file that was changed after it was applied is noticed."""

    number: int
    name: str
    text: str

    @property
    def digest(self) -> str:
        return blake2b(self.text.encode(), digest_size=16).hexdigest()

    def statements(self) -> Iterator[str]:
        """The statements: each ends with a semicolon at the end of a line."""
        code = "\n".join(line for line in self.text.splitlines() if not line.lstrip().startswith("--"))
        for statement in re.split(r";[ \t]*(?:\n|$)", code):
            if statement.strip():
                yield statement.strip()


def migrations(directory: Traversable = DDL) -> list[Migration]:
    """All migrations in order. Raises ValueError when a number is missing or there twice."""
    found = []
    for path in sorted(_sql_files(directory), key=lambda path: path.name):
        match = _NAME.match(path.name)
        if match is None:
            raise ValueError(f"{path.name} is no migration: name it NNNN_words_with_underscores.sql")
        found.append(Migration(int(match.group(1)), match.group(2), path.read_text(encoding="utf-8")))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the migrations in {directory} must be numbered 0001, 0002, … without a gap")
    return found


def _sql_files(directory: Traversable) -> Iterator[Traversable]:
    return (path for path in directory.iterdir() if path.name.endswith(".sql"))


def migrate(clickhouse: Clickhouse, wanted: list[Migration] | None = None) -> list[str]:
    """Bring the database to the newest migration; returns the names that were applied.

    Raises ValueError when an applied file has changed since, or the database is newer than this code.
    """
    wanted = migrations() if wanted is None else wanted
    clickhouse.command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
    clickhouse.command(_TABLE)
    applied = _applied(clickhouse)
    _check(applied, wanted)
    new = [migration for migration in wanted if migration.number not in applied]
    for migration in new:
        _apply(clickhouse, migration)
    return [f"{migration.number:04d}_{migration.name}" for migration in new]


def _applied(clickhouse: Clickhouse) -> dict[int, str]:
    rows = clickhouse.query(f"SELECT number, any(digest) AS digest FROM {DATABASE}.migrations GROUP BY number")
    return dict(zip(rows["number"].to_pylist(), rows["digest"].to_pylist(), strict=True))


def _check(applied: dict[int, str], wanted: list[Migration]) -> None:
    unknown = sorted(set(applied) - {migration.number for migration in wanted})
    if unknown:
        raise ValueError(f"the warehouse has migration {unknown[0]:04d}, which this version does not know: upgrade it")
    for migration in wanted:
        if applied.get(migration.number, migration.digest) != migration.digest:
            raise ValueError(
                f"migration {migration.number:04d}_{migration.name} was changed after it was applied: "
                "undo the change and put it into a new file"
            )


def _apply(clickhouse: Clickhouse, migration: Migration) -> None:
    for statement in migration.statements():
        clickhouse.command(statement)
    row = {"number": [migration.number], "name": [migration.name], "digest": [migration.digest]}
    clickhouse.insert(f"{DATABASE}.migrations", pa.table(row))
    _log.info("applied migration %04d_%s", migration.number, migration.name)
