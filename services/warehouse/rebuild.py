"""The tables of the warehouse rebuilt from the log beside the live ones, compared at equal marks, and exchanged.

1. A second database gets the tables of every migration. 2. The engine (see `services.rebuild`) reads all topics from
the marks of the new tables; its workers hand over rows and never read past the live marks, so the new tables are never
ahead. 3. Once they are close, inserts into the live tables wait, the new ones come to the very same marks, and the two
are compared. 4. The tables are exchanged. 5. Inserts go on: the new tables have the same marks, so nothing is lost and
nothing read again.

Analysts are answered from the live tables all the while.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, TypeVar

import pyarrow as pa
from aiokafka.errors import KafkaError

from services.common.clickhouse import DATABASE, Clickhouse, ClickhouseError
from services.common.settings import KafkaSettings
from services.rebuild.engine import Engine, Marks, Progress, Work
from services.rebuild.planning import planned
from services.warehouse import rebuild_tables as tables
from services.warehouse.marks import stored_marks
from services.warehouse.rebuild_status import Compared, RebuildRequest, Status
from services.warehouse.sink import TOPICS, WarehouseSink

_log: Final = logging.getLogger("animusic.warehouse")
R = TypeVar("R")
Connect = Callable[[], Clickhouse]


class Rebuild:
    """One rebuild. `await run()`; cancel it to stop, and run another one to go on. `status` at any time.

    Raises ClickhouseError, RuntimeError (a worker ended), aiokafka's KafkaError, ConnectionError, LookupError.
    """

    def __init__(self, kafka: KafkaSettings, sink: WarehouseSink, connect: Connect, request: RebuildRequest) -> None:
        self._kafka = kafka
        self._sink = sink
        self._connect = connect
        self._request = request
        self._cpu_before = time.process_time()
        self.status = Status(state="running")

    async def run(self) -> None:
        """Build, catch up, compare, switch."""
        request = self._request
        work = Work(request.workers, request.rate, request.hold_records, request.nice)
        async with contextlib.AsyncExitStack() as stack:
            clickhouse, inserting = [await asyncio.to_thread(self._connect) for _ in range(2)]
            for connection in (clickhouse, inserting):
                stack.push_async_callback(asyncio.to_thread, connection.close)
            target = _Tables(clickhouse, inserting, self._sink, request, self.status)
            await target.prepare()
            plan = await planned(self._kafka, TOPICS)
            await Engine(self._kafka, target, work, self.status, self._tell).run(plan.partitions)

    def _tell(self, progress: Progress) -> None:
        self.status.phase = progress.phase
        if progress.phase in ("starting", "reading"):
            self.status.engine_cpu = time.process_time() - self._cpu_before
        self.status.done, self.status.total = progress.done, progress.total
        self.status.per_second = progress.per_second


class _Tables:
    """The second database, as a target of the engine. `inserting` is a connection of its own."""

    sink = "services.warehouse.rebuild_rows:rows_sink"
    follows = False

    def __init__(
        self,
        clickhouse: Clickhouse,
        inserting: Clickhouse,
        sink: WarehouseSink,
        request: RebuildRequest,
        status: Status,
    ) -> None:
        self._clickhouse = clickhouse
        self._inserting = inserting
        self._one_insert = asyncio.Lock()
        self._live_sink = sink
        self._request = request
        self._status = status
        self.options: dict[str, Any] = {}

    async def prepare(self) -> None:
        """Make the second database, or take up what an interrupted rebuild has built."""
        await asyncio.to_thread(self._prepare)

    def _prepare(self) -> None:
        # Merges and reads do what this would do to each block by itself: a third of the cost of an insert.
        self._inserting.command("SET optimize_on_insert = 0")
        if self._request.new:
            tables.drop(self._clickhouse)
        self._status.went_on = tables.exists(self._clickhouse)
        tables.make(self._clickhouse)
        tables.carry_over(self._clickhouse)
        self.options = {"marks": _fields(self._clickhouse, tables.NEXT)}

    async def store(self, blocks: list[tuple[str, bytes]]) -> int:
        """See Target: insert, the marks last."""
        async with self._one_insert:
            return await _to_its_end(self._store, blocks)

    def _store(self, blocks: list[tuple[str, bytes]]) -> int:
        refused = 0
        for table, block in blocks:
            with pa.ipc.open_stream(block) as stream:
                refused += self._insert(table, stream.read_all())
        return refused

    def _insert(self, table: str, rows: pa.Table) -> int:
        """What ClickHouse itself refuses is bisected down to the one row and left out, as the live consumer does."""
        try:
            self._inserting.insert(f"{tables.NEXT}.{table}", rows)
        except ClickhouseError as error:
            if not error.about_data:
                raise
            if rows.num_rows == 1:
                return 1
            middle = rows.num_rows // 2
            return self._insert(table, rows.slice(0, middle)) + self._insert(table, rows.slice(middle))
        return 0

    async def live_marks(self) -> Sequence[Marks]:
        """See Target."""
        return [await asyncio.to_thread(_fields, self._clickhouse)]

    async def marks(self) -> Sequence[Marks]:
        """See Target."""
        return [await asyncio.to_thread(_fields, self._clickhouse, tables.NEXT)]

    @contextlib.asynccontextmanager
    async def standstill(self) -> AsyncIterator[None]:
        """See Target: nothing is inserted into the live tables."""
        async with self._live_sink.insert_lock:
            began = time.monotonic()
            yield
            self._status.paused_ms = (time.monotonic() - began) * 1e3

    async def compare(self, _advance: Callable[[int, int], None]) -> bool:
        """See Target."""
        found = await asyncio.to_thread(tables.compare, self._clickhouse)
        self._status.compared = tuple(
            Compared(table=t.table, live_rows=t.live_rows, next_rows=t.next_rows, equal=t.equal, digest=t.next_digest)
            for t in found
        )
        return self._request.switch and (self._status.equal or self._request.even_if_different)

    async def switch(self) -> None:
        """See Target. Inserts must not go on while tables are exchanged."""
        await _to_its_end(lambda: tables.switch(self._clickhouse, keep=self._request.keep))
        self._status.switched = True

    async def taken_over(self) -> bool:
        """See Target: the live consumer writes whatever tables are live."""
        return True


def _fields(clickhouse: Clickhouse, database: str = DATABASE) -> dict[str, int]:
    return {name.field(): mark for name, mark in stored_marks(clickhouse, database).items()}


async def _to_its_end(work: Callable[..., R], *arguments: Any) -> R:
    """Do it in a thread, and wait for its end even where this is cancelled."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


class Rebuilds:
    """The rebuild of this process, one at a time."""

    def __init__(self, kafka: KafkaSettings, sink: WarehouseSink, connect: Connect) -> None:
        self._kafka = kafka
        self._sink = sink
        self._connect = connect
        self._task: asyncio.Task[None] | None = None
        self._current: Rebuild | None = None

    def start(self, request: RebuildRequest) -> None:
        """Begin, or go on with what is there. Raises RuntimeError while one is running."""
        if self._task is not None and not self._task.done():
            raise RuntimeError("refused: a rebuild of the warehouse goes on already; wait for it, or stop its command")
        self._current = Rebuild(self._kafka, self._sink, self._connect, request)
        self._task = asyncio.create_task(self._run(self._current))

    async def status(self) -> Status:
        """How the last one is; `interrupted` where an earlier process left one."""
        if self._current is not None:
            return self._current.status
        return Status(state="interrupted" if await asyncio.to_thread(self._left_over) else "none")

    def doing(self) -> str:
        """What the running one does and how far it is, in words; "" where none is running."""
        if self._current is None or self._current.status.state != "running":
            return ""
        status = self._current.status
        return f"{status.phase}: {status.done:,} of {status.total:,} records, {status.per_second:,.0f} records/s"

    async def stop(self) -> None:
        """Stop it where it can go on; harmless when none is running."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _left_over(self) -> bool:
        clickhouse = self._connect()
        try:
            return tables.exists(clickhouse)
        finally:
            clickhouse.close()

    async def _run(self, rebuild: Rebuild) -> None:
        status = rebuild.status
        try:
            await rebuild.run()
            status.state = "done"
        except asyncio.CancelledError:
            status.state, status.error = "interrupted", "stopped; the same command goes on from there"
            raise
        except (ClickhouseError, RuntimeError, KafkaError, ConnectionError, LookupError, OSError) as error:
            _log.error("the rebuild stopped: %s", error)
            status.state, status.error = "failed", f"{error}. Nothing is lost: the same command goes on from there"
