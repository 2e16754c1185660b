"""Analysts' queries: a few threads, each with a read-only connection of its own, within limits of time and memory.

The connections work beside the one that inserts: an insert does not wait for a query.
"""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple

from services.common.clickhouse import DATABASE, ChdbConnection, ChdbEngine, ClickhouseError, Result, quoted
from services.common.settings import WarehouseSettings
from services.warehouse.asked_settings import settle
from services.warehouse.guard import output_format, refusal

# More than this many at a time would leave the rest of the system no core; others wait, and beyond that are refused.
_SIDE_BY_SIDE: Final = 3
_WAITING: Final = 32
_KILL_AGAIN_SECONDS: Final = 0.05
_RESULT_BYTES: Final = 256_000_000


class Answer(NamedTuple):
    """A result, and the ClickHouse format that it is in."""

    result: Result
    format: str


@dataclass(frozen=True)
class Question:
    """A statement and what came beside it.

    Attributes:
        parameters: values of `{name:Type}`, escaped as HTTP's `param_*` are.
        settings: not checked yet.
    """

    statement: str
    default_format: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


class _Engine(NamedTuple):
    """What the engine knows: its table functions in lower case, and its settings with their values."""

    table_functions: frozenset[str]
    settings: dict[str, str]


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
        self._limits = {
            "max_execution_time": settings.query_seconds,
            "max_memory_usage": settings.query_memory_mb * 1_000_000,
            "max_result_bytes": _RESULT_BYTES,
        }

    async def ask(self, question: Question) -> Answer:
        """The answer to one statement.

        Raises ClickhouseError: what the engine says, 497 for a statement that is refused here, 164 for a setting that
        is, 115 for one that the engine does not have, 202 when too many wait already.
        """
        if self._asked >= _SIDE_BY_SIDE + _WAITING:
            raise ClickhouseError(
                "Code: 202. DB::Exception: Too many queries wait already; try again in a few seconds. "
                "(TOO_MANY_SIMULTANEOUS_QUERIES)"
            )
        self._asked += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._answer, question)
        finally:
            self._asked -= 1

    def close(self) -> None:
        """End the running queries and close the engine."""
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

    def _answer(self, question: Question) -> Answer:
        self._answering.add(threading.get_ident())
        try:
            return self._answered(question)
        finally:
            self._answering.discard(threading.get_ident())

    def _answered(self, question: Question) -> Answer:
        self._stay_open()
        settings, refused = settle(question.settings, self._known.settings, self._limits)
        if refused is not None:
            raise ClickhouseError(f"Code: {refused.code}. DB::Exception: Refused: {refused.sentence}.")
        # Put into its canonical form without them: `offset=1` would leave nothing of it.
        with self._connection({}) as plain:
            formatted = f"SELECT formatQuerySingleLine({quoted(question.statement)})"
            canonical = plain.raw(formatted, "TSVRaw").decode().strip()
        # Killed while it was formatted, a statement comes back empty.
        self._stay_open()
        reason = refusal(canonical, question.parameters, self._known.table_functions)
        if reason:
            raise ClickhouseError(f"Code: 497. DB::Exception: Refused: {reason}. (ACCESS_DENIED)")
        with self._connection(settings) as connection:
            result = connection.answer(canonical, question.default_format, question.parameters)
        return Answer(result, output_format(canonical) or question.default_format)

    def _stay_open(self) -> None:
        if self._closing:
            raise ClickhouseError("Code: 394. DB::Exception: The endpoint is closing. (QUERY_WAS_CANCELLED)")

    @contextmanager
    def _connection(self, settings: Mapping[str, str]) -> Iterator[ChdbConnection]:
        """This thread's connection; with settings one of their own, for the lock cannot be opened again."""
        if settings:
            connection = self._connect(settings)
            try:
                yield connection
            finally:
                connection.close()
            return
        found: ChdbConnection | None = getattr(self._own, "connection", None)
        if found is None:
            found = self._own.connection = self._connect({})
            self._connections.append(found)
        yield found

    def _connect(self, settings: Mapping[str, str]) -> ChdbConnection:
        limits: dict[str, str | int] = {
            **self._limits,
            "max_bytes_before_external_group_by": self._settings.query_memory_mb * 500_000,
            "max_bytes_before_external_sort": self._settings.query_memory_mb * 500_000,
            "max_threads": 1,
            "allow_introspection_functions": 0,
            "allow_ddl": 0,
        }
        connection = self._engine.connect(**{**limits, **settings})
        connection.command(f"USE {DATABASE}")
        connection.command("SET readonly = 1")
        return connection

    @cached_property
    def _known(self) -> _Engine:
        connection = self._connect({})
        try:
            functions = connection.query("SELECT lower(name) AS name FROM system.table_functions")["name"].to_pylist()
            settings = connection.query("SELECT name, value FROM system.settings").to_pydict()
            return _Engine(frozenset(functions), dict(zip(settings["name"], settings["value"], strict=True)))
        finally:
            connection.close()
