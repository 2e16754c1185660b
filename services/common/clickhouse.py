"""One interface to ClickHouse, two implementations: chDB inside this process, or a server.

Both block; call them from a thread. chDB has one engine a process and directory; its connections work side by side, so
an insert does not wait for a long query on another connection (each connection runs one statement at a time).
"""

import io
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import pyarrow as pa

from services.common.settings import Settings

DATABASE: Final = "animusic"
_CODE = re.compile(r"Code: (\d+)")
_WRAPPED = re.compile(r"^Streaming insert \w+ failed: ")
_NESTED = re.compile(r"^Code: \d+\. DB::Exception: (?=Code: \d+\.)")
# The rows are wrong, not the store: a retry fails, too.
# CANNOT_PARSE_*, ILLEGAL_TYPE_OF_ARGUMENT, TYPE_MISMATCH, CANNOT_CONVERT_TYPE, VALUE_IS_OUT_OF_RANGE, INCORRECT_DATA …
_DATA_FAULTS: Final = frozenset({6, 25, 26, 27, 38, 41, 43, 53, 69, 70, 72, 117, 131, 321, 349, 376, 407})

# The engine looks at its memory this often; by default 20 times a second, which costs an idle one a third of its CPU.
_MEMORY_LOOK_MS: Final = 1_000
# UNKNOWN_TABLE, UNKNOWN_DATABASE, TABLE_IS_DROPPED.
_MISSING: Final = frozenset({60, 81, 218})


class ClickhouseError(Exception):
    """A statement that ClickHouse refused. `str()` is its text, which begins with `Code: N`.

    Attributes:
        code: ClickHouse's error code; 0 when the engine did not answer at all.
    """

    def __init__(self, message: str) -> None:
        found = _CODE.search(message)
        super().__init__(_NESTED.sub("", _WRAPPED.sub("", message.strip())))
        self.code = int(found.group(1)) if found else 0

    @property
    def about_data(self) -> bool:
        """Whether the rows are at fault, so that the same insert can never pass."""
        return self.code in _DATA_FAULTS

    @property
    def missing(self) -> bool:
        """Whether a table or the database is not there."""
        return self.code in _MISSING


class Result(NamedTuple):
    """The bytes of a result in an output format, and what it took."""

    body: bytes
    rows: int
    read_rows: int
    read_bytes: int
    seconds: float


class Clickhouse(Protocol):
    """What the warehouse needs of ClickHouse. All raise ClickhouseError."""

    def command(self, statement: str) -> None:
        """Run one statement that has no result."""
        ...

    def insert(self, table: str, rows: pa.Table) -> None:
        """Insert columns by name; when it returns, the rows survive a killed process."""
        ...

    def query(self, statement: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The result as Arrow; `{name:Type}` in the statement takes its value from `parameters`."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def open_clickhouse(settings: Settings) -> "Clickhouse":
    """The warehouse's own connection: to the server at `clickhouse.dsn` if it is external, else to the engine here."""
    if settings.clickhouse.external:
        return ClickhouseServer(settings.clickhouse.dsn)
    return ChdbEngine(settings.data_dir / "clickhouse", settings.warehouse.engine_memory_mb).connect()


def quoted(text: str) -> str:
    """A string literal of ClickHouse."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def parameter(value: Any) -> str:
    """A query parameter as ClickHouse reads it: escaped as in a tab-separated file."""
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


class ChdbEngine:
    """The chDB engine of this process; it makes connections, and lives while one of them is open.

    Only one process may have a directory open, and one process only one directory: a second one is an error.
    """

    def __init__(self, directory: Path, memory_mb: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        options = {"max_server_memory_usage": memory_mb * 1_000_000, "memory_worker_period_ms": _MEMORY_LOOK_MS}
        self._url = f"{directory.resolve()}?" + "&".join(f"{name}={value}" for name, value in options.items())

    def connect(self, **settings: str | int) -> "ChdbConnection":
        """Another connection with session settings of its own; `readonly=1` also locks them. Its time zone is UTC."""
        import chdb

        # chDB is marked as typed, but this function is not.
        connect: Callable[[str], Any] = chdb.connect
        try:
            connection = ChdbConnection(connect(self._url))
        except RuntimeError as error:
            raise ClickhouseError(
                f"cannot open the database in {self._directory}; is another warehouse running on it? ({error})"
            ) from error
        locked = settings.pop("readonly", 0)
        # Else it would be the zone that the machine had when the engine was loaded.
        options = {"session_timezone": "UTC", **settings}
        connection.command("SET " + ", ".join(f"{name} = {quoted(str(value))}" for name, value in options.items()))
        if locked:
            connection.command(f"SET readonly = {locked}")
        return connection


class ChdbConnection:
    """A connection to the engine of this process. Threads may share it; statements then wait for each other."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def command(self, statement: str) -> None:
        self.raw(statement, "Null")

    def query(self, statement: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        escaped = {name: parameter(value) for name, value in (parameters or {}).items()}
        return pa.ipc.open_file(self.raw(statement, "Arrow", escaped)).read_all()

    def raw(self, statement: str, output: str, parameters: Mapping[str, str] | None = None) -> bytes:
        """The bytes of a result in an output format; a FORMAT in the statement wins. Parameters are escaped already."""
        return self.answer(statement, output, parameters).body

    def answer(self, statement: str, output: str, parameters: Mapping[str, str] | None = None) -> Result:
        """`raw`, and what it took."""
        with self._lock:
            try:
                found = self._connection.query(statement, output, params=dict(parameters or {}))
                read = found.storage_rows_read(), found.storage_bytes_read()
                return Result(bytes(found.bytes() or b""), found.rows_read(), *read, found.elapsed())
            except RuntimeError as error:
                raise ClickhouseError(str(error)) from error

    def insert(self, table: str, rows: pa.Table) -> None:
        stream = io.BytesIO()
        with pa.ipc.new_stream(stream, rows.schema) as writer:
            writer.write_table(rows.combine_chunks())
        columns = ", ".join(f"`{name}`" for name in rows.column_names)
        self.insert_bytes(f"INSERT INTO {table} ({columns})", stream.getvalue(), "ArrowStream")

    def insert_bytes(self, statement: str, rows: bytes, encoding: str) -> None:
        """Insert rows that are encoded in an input format; `INSERT INTO table (columns)` without a FORMAT."""
        with self._lock:
            try:
                with self._connection.send_insert(statement, encoding) as inserter:
                    inserter.append(rows)
                    inserter.finish()
            except RuntimeError as error:
                raise ClickhouseError(str(error)) from error

    def close(self) -> None:
        with self._lock:
            self._connection.close()


class ClickhouseServer:
    """A ClickHouse server over HTTP."""

    def __init__(self, dsn: str) -> None:
        import clickhouse_connect

        try:
            self._client = clickhouse_connect.get_client(dsn=_without_database(dsn))
        except Exception as error:
            raise ClickhouseError(f"no ClickHouse answered at ANIMUSIC_CLICKHOUSE__DSN: {error}") from error
        self._lock = threading.Lock()

    def command(self, statement: str) -> None:
        self._asking(self._client.command, statement)

    def insert(self, table: str, rows: pa.Table) -> None:
        self._asking(self._client.insert_arrow, table, rows)

    def query(self, statement: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        found: pa.Table = self._asking(self._client.query_arrow, statement, parameters=dict(parameters or {}))
        return found

    def close(self) -> None:
        self._client.close()

    def _asking(self, call: Any, *arguments: Any, **named: Any) -> Any:
        from clickhouse_connect.driver.exceptions import Error

        # One client is one HTTP session: statements of several threads would be refused as concurrent.
        with self._lock:
            try:
                return call(*arguments, **named)
            except (Error, OSError) as error:
                raise ClickhouseError(str(error)) from error


def _without_database(dsn: str) -> str:
    """The DSN without its path: the database may still have to be made."""
    return re.sub(r"(?<=[^/:])/[^/?]*(?=\?|$)", "", dsn, count=1)
