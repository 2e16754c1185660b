"""One Parquet file (zstd) of a backup: consecutive records of one partition."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from services.operator.backup.manifest import FileEntry, digest_of, sync_directory

SCHEMA: Final = pa.schema(
    [
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", pa.int64(), nullable=False),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())])), nullable=False),
    ]
)
PARTIAL: Final = ".partial"
_GROUP_BYTES: Final = 8 << 20
_ROWS: Final = 2_000


class Row(NamedTuple):
    """One record. `timestamp` in ms; `headers` in their order, with their doubles."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class FileWriter:
    """Writes one file under a `.partial` name; `close` renames it.

    `bytes`: of keys and values so far, before compression.
    """

    def __init__(self, root: Path, path: str, first: int) -> None:
        self.bytes = 0
        self._path, self._first, self._target = path, first, root / path
        self._partial = self._target.with_name(self._target.name + PARTIAL)
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(self._partial, SCHEMA, compression="zstd")
        self._group: list[Any] = []
        self._group_start = 0
        self._records = 0

    def add(self, records: Sequence[Any]) -> None:
        """Append records (aiokafka ConsumerRecord)."""
        self._group += records
        self._records += len(records)
        self.bytes += sum(len(r.key or b"") + len(r.value or b"") + 64 for r in records)
        if self.bytes - self._group_start >= _GROUP_BYTES:
            self._write_group()

    def close(self, upto: int) -> FileEntry:
        """Complete and sync the file. `upto`: the first offset of the next one."""
        self._write_group()
        self._writer.close()
        with self._partial.open("rb+") as file:
            os.fsync(file.fileno())
        digest = digest_of(self._partial)
        self._partial.replace(self._target)
        sync_directory(self._target.parent)
        size = self._target.stat().st_size
        return FileEntry(
            path=self._path, first=self._first, upto=upto, records=self._records, bytes=size, sha256=digest
        )

    def abandon(self) -> None:
        """Delete the unfinished file."""
        self._writer.close()
        self._partial.unlink(missing_ok=True)

    def _write_group(self) -> None:
        if self._group:
            self._writer.write_table(_table(self._group), row_group_size=len(self._group))
            self._group, self._group_start = [], self.bytes


def _table(records: Sequence[Any]) -> pa.Table:
    columns = [[getattr(r, name) for r in records] for name in SCHEMA.names[:4]]
    columns.append([[{"name": name, "value": value} for name, value in r.headers] for r in records])
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def read_rows(root: Path, file: FileEntry, skip: int = 0) -> Iterator[list[Row]]:
    """The records of a file in batches, without the first `skip`."""
    with pq.ParquetFile(root / file.path) as parquet:
        for batch in parquet.iter_batches(batch_size=_ROWS):
            if skip < batch.num_rows:
                *columns, headers = (column.to_pylist() for column in batch.slice(skip).columns)
                pairs = (tuple((h["name"], h["value"]) for h in found) for found in headers)
                yield [Row(*fields) for fields in zip(*columns, pairs, strict=True)]
            skip = max(0, skip - batch.num_rows)


def damage(path: Path, size: int, sha256: str) -> str | None:
    """What is wrong with a file, in a few words; None when it is intact."""
    try:
        if (found := path.stat().st_size) != size:
            return f"has {found:,} bytes, not {size:,}"
        return None if digest_of(path) == sha256 else "its sha256 differs"
    except OSError as error:
        return (error.strerror or type(error).__name__).lower()
