"""Analysts' queries: a few threads, each with a read-only connection of its own, within limits of time and memory.

The connections work beside the one that inserts: an insert does not wait for a query.
"""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from services.common.clickhouse import DATABASE, ChdbConnection, ChdbEngine, ClickhouseError, quoted
from services.common.settings import WarehouseSettings
from services.warehouse.guard import output_format, refusal

# More than this many at a time would leave the rest of the system no core; others wait, and beyond that are refused.
_SIDE_BY_SIDE: Final = 3
_WAITING: Final = 32
_KILL_AGAIN_SECONDS: Final = 0.05
_RESULT_BYTES: Final = 256_000_000


class Answer(NamedTuple):
    """The bytes of a result, and the ClickHouse format that they are in."""

    body: bytes
    format: str


class Analysts:
    """Answers checked statements."""

    def __init__(self, engine: ChdbEngine, settings: WarehouseSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="analyst")
        self._asked = 0
        self._closing = False
        self._answering: set[int] = set()
        self._connections: list[ChdbConnection] = []
        self._table_functions: frozenset[str] = frozenset()

    async def ask(self, statement: str, parameters: dict[str, str], default_format: str) -> Answer:
        """The answer to one statement; `parameters` are escaped as HTTP's `param_*` are.

        Raises ClickhouseError: what the engine says, 497 for what is refused here, 202 when too many wait already.
        """
        if self._asked >= _SIDE_BY_SIDE + _WAITING:
            raise ClickhouseError(
                "Code: 202. DB::Exception: Too many queries wait already; try again in a few seconds. "
                "(TOO_MANY_SIMULTANEOUS_QUERIES)"
            )
        self._asked += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._answer, statement, parameters, default_format)
        finally:
            self._asked -= 1

    def close(self) -> None:
        """End the running queries and let go of the engine."""
        self._closing = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._answering:
            self._connections.append(killer := self._engine.connect())
            # One kill is not enough: a thread may be between two statements of its answer, or about to begin.
            while self._answering:
                killer.command("KILL QUERY WHERE query_id != queryID() ASYNC")
                time.sleep(_KILL_AGAIN_SECONDS)
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()

    def _answer(self, statement: str, parameters: dict[str, str], default_format: str) -> Answer:
        self._answering.add(threading.get_ident())
        try:
            return self._answered(statement, parameters, default_format)
        finally:
            self._answering.discard(threading.get_ident())

    def _answered(self, statement: str, parameters: dict[str, str], default_format: str) -> Answer:
        self._stay_open()
        connection = self._connection()
        canonical = connection.raw(f"SELECT formatQuerySingleLine({quoted(statement)})", "TSVRaw").decode().strip()
        # Killed while it was formatted, a statement comes back empty.
        self._stay_open()
        reason = refusal(canonical, parameters, self._table_functions)
        if reason:
            raise ClickhouseError(f"Code: 497. DB::Exception: Refused: {reason}. (ACCESS_DENIED)")
        body = connection.raw(canonical, default_format, parameters)
        return Answer(body, output_format(canonical) or default_format)

    def _stay_open(self) -> None:
        if self._closing:
            raise ClickhouseError("Code: 394. DB::Exception: The endpoint is closing. (QUERY_WAS_CANCELLED)")

    def _connection(self) -> ChdbConnection:
        """This thread's connection."""
        found: ChdbConnection | None = getattr(self._own, "connection", None)
        if found is None:
            found = self._own.connection = self._connect()
            self._connections.append(found)
        return found

    def _connect(self) -> ChdbConnection:
        connection = self._engine.connect(
            max_execution_time=self._settings.query_seconds,
            max_memory_usage=self._settings.query_memory_mb * 1_000_000,
            max_bytes_before_external_group_by=self._settings.query_memory_mb * 500_000,
            max_bytes_before_external_sort=self._settings.query_memory_mb * 500_000,
            max_threads=1,
            max_result_bytes=_RESULT_BYTES,
            allow_introspection_functions=0,
            allow_ddl=0,
        )
        connection.command(f"USE {DATABASE}")
        names = connection.query("SELECT lower(name) AS name FROM system.table_functions")["name"].to_pylist()
        self._table_functions = frozenset(names)
        connection.command("SET readonly = 1")
        return connection
