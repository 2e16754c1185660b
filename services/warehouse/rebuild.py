"""The tables of the warehouse rebuilt from the log beside the live ones, compared at equal marks, and exchanged.

1. A second database gets the tables of every migration. 2. Readers (processes) read all topics from the marks of the
new tables and hand over rows; they never read past the live marks, so the new tables are never ahead. 3. Once they are
close, inserts into the live tables wait, the new ones come to the very same marks, and the two are compared. 4. The
tables are exchanged. 5. Inserts go on: the new tables have the same marks, so nothing is lost and nothing read again.

Analysts are answered from the live tables all the while. Whenever it is stopped or killed, the marks of the new tables
say where the next one goes on. The log's groups are never touched.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Final

import pyarrow as pa
from aiokafka.errors import KafkaError

from contracts.marks import MarkName
from services.common.clickhouse import Clickhouse, ClickhouseError
from services.common.kafka import partition_counts, topic_ids
from services.common.settings import KafkaSettings
from services.warehouse import rebuild_tables as tables
from services.warehouse.marks import Marks, stored_marks
from services.warehouse.rebuild_job import Frame, Job, Partition
from services.warehouse.rebuild_status import Compared, Phase, Status, Wish
from services.warehouse.rebuild_workers import Worker, shared_out
from services.warehouse.sink import TOPICS, WarehouseSink

_LOOK_SECONDS: Final = 0.25
_SETTLE_SECONDS: Final = 0.02
_CLOSE: Final = 2_000
_RATE_SECONDS: Final = 5.0
_log = logging.getLogger("animusic.warehouse")
Connect = Callable[[], Clickhouse]


class Rebuild:
    """One rebuild. `await run()`; cancel it to stop, and run another one to go on. `status` at any time.

    Raises ClickhouseError, RuntimeError (a reader ended), aiokafka's KafkaError, ConnectionError, LookupError.
    """

    def __init__(self, kafka: KafkaSettings, sink: WarehouseSink, connect: Connect, wish: Wish) -> None:
        self._kafka = kafka
        self._sink = sink
        self._connect = connect
        self._wish = wish
        self._marks: Marks = {}
        self._live: Marks = {}
        self._last: dict[int, Frame] = {}
        self._seen: list[tuple[float, int]] = []
        self._pumps: list[asyncio.Task[None]] = []
        self.status = Status(state="running")

    async def run(self) -> None:
        """Build, catch up, compare, switch."""
        clickhouse = await asyncio.to_thread(self._connect)
        try:
            await asyncio.to_thread(self._prepare, clickhouse)
            partitions = await self._partitions()
            async with self._reading(partitions) as workers:
                await self._catch_up(workers, clickhouse)
                await self._settle(workers, clickhouse)
        finally:
            await asyncio.to_thread(clickhouse.close)

    def _prepare(self, clickhouse: Clickhouse) -> None:
        self._live = stored_marks(clickhouse)
        self.status.total = sum(self._live.values())
        if self._wish.new:
            tables.drop(clickhouse)
        self.status.went_on = tables.exists(clickhouse)
        tables.make(clickhouse)
        tables.carry_over(clickhouse)
        self._marks = stored_marks(clickhouse, tables.NEXT)

    async def _partitions(self) -> list[Partition]:
        ids = await topic_ids(self._kafka.bootstrap_servers, TOPICS)
        counts = await partition_counts(self._kafka, TOPICS)
        names = [(topic, MarkName(ids[topic], number)) for topic in TOPICS for number in range(counts[topic])]
        return [
            Partition(topic=topic, topic_id=name.topic_id, partition=name.partition, start=self._marks.get(name))
            for topic, name in names
        ]

    # ---- reading ------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _reading(self, partitions: list[Partition]) -> AsyncIterator[list[Worker]]:
        self._live = {p.name: self._live.get(p.name, 0) for p in partitions}
        sized = [(p, self._live[p.name] - self._marks.get(p.name, 0)) for p in partitions]
        shares = shared_out(sized, self._wish.workers)
        workers = [Worker(self._job(share, len(shares))) for share in shares]
        connections = [await asyncio.to_thread(self._connect_to_insert) for _ in workers]
        try:
            for number, worker in enumerate(workers):
                await worker.start()
                self._pumps.append(asyncio.create_task(self._pump(number, worker, connections[number])))
            yield workers
        finally:
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)
            await asyncio.gather(*(worker.stop() for worker in workers))
            for connection in connections:
                await asyncio.to_thread(connection.close)

    def _connect_to_insert(self) -> Clickhouse:
        clickhouse = self._connect()
        # Merges and reads do what this would do to each block by itself: a third of the cost of an insert.
        clickhouse.command("SET optimize_on_insert = 0")
        return clickhouse

    def _job(self, share: list[Partition], workers: int) -> Job:
        rate = None if self._wish.rate is None else self._wish.rate / workers
        return Job(
            kafka=self._kafka, partitions=tuple(share), limits=_fields(self._live), rate=rate,
            hold_records=self._wish.hold_records, nice=self._wish.nice,
        )  # fmt: skip

    async def _pump(self, number: int, worker: Worker, clickhouse: Clickhouse) -> None:
        async for frame, parts in worker.frames():
            await asyncio.to_thread(self._insert, clickhouse, frame, parts)
            self._marks |= {MarkName.parse(field): mark for field, (_, mark) in frame.marks.items()}
            self._last[number] = frame
            self.status.records += frame.records
            self.status.poison += frame.poison
            self.status.memory = max(self.status.memory, sum(last.memory for last in self._last.values()))

    def _insert(self, clickhouse: Clickhouse, frame: Frame, parts: list[bytes]) -> None:
        """Rows first, then the marks that stand for them."""
        for block, part in zip(frame.blocks, parts, strict=True):
            with pa.ipc.open_stream(part) as stream:
                self._insert_rows(clickhouse, block.table, stream.read_all())
        marks = _mark_rows(frame)
        if marks.num_rows:
            clickhouse.insert(f"{tables.NEXT}.marks", marks)

    def _insert_rows(self, clickhouse: Clickhouse, table: str, rows: pa.Table) -> None:
        """What ClickHouse itself refuses is bisected down to the one row and left out, as the live consumer does."""
        try:
            clickhouse.insert(f"{tables.NEXT}.{table}", rows)
        except ClickhouseError as error:
            if not error.about_data:
                raise
            if rows.num_rows == 1:
                self.status.poison += 1
                return
            middle = rows.num_rows // 2
            self._insert_rows(clickhouse, table, rows.slice(0, middle))
            self._insert_rows(clickhouse, table, rows.slice(middle))

    # ---- reaching the live tables -------------------------------------------------------------------------------

    async def _catch_up(self, workers: list[Worker], clickhouse: Clickhouse) -> None:
        began, cpu = time.monotonic(), time.process_time()
        self._enter("reading")
        while True:
            await self._let_read(workers, clickhouse)
            # A reader that has not handed over anything is still starting: inserts shall not wait for that.
            if self.status.behind <= _CLOSE and len(self._last) == len(workers):
                break
            await asyncio.sleep(_LOOK_SECONDS)
        self.status.seconds = time.monotonic() - began
        self.status.engine_cpu = time.process_time() - cpu
        self.status.readers_cpu = sum(last.cpu_seconds for last in self._last.values())

    async def _let_read(self, workers: list[Worker], clickhouse: Clickhouse) -> None:
        """Move the limits to the live marks."""
        now = await asyncio.to_thread(stored_marks, clickhouse)
        self._live = {name: max(mark, now.get(name, 0)) for name, mark in self._live.items()}
        for worker in workers:
            worker.limit(_fields(self._live))
        self._look()

    def _look(self) -> None:
        """See how far the new tables are. Raises what made a reader end."""
        for pump in self._pumps:
            if pump.done():
                pump.result()
        self.status.total = sum(self._live.values())
        self.status.done = sum(min(mark, self._marks.get(name, 0)) for name, mark in self._live.items())
        self.status.per_second = self._rate()

    def _rate(self) -> float:
        now = time.monotonic()
        self._seen = [(at, count) for at, count in self._seen if now - at < _RATE_SECONDS]
        self._seen.append((now, self.status.records))
        at, first = self._seen[0]
        return (self.status.records - first) / (now - at) if now > at else 0.0

    async def _settle(self, workers: list[Worker], clickhouse: Clickhouse) -> None:
        """Bring both to the same marks while nothing is inserted into the live tables; compare; exchange."""
        async with self._sink.held:
            began = time.monotonic()
            self._enter("catching up")
            await self._let_read(workers, clickhouse)
            while self.status.behind:
                await asyncio.sleep(_SETTLE_SECONDS)
                self._look()
            self._enter("comparing")
            found = await asyncio.to_thread(tables.compare, clickhouse)
            self.status.compared = tuple(map(_compared, found))
            if self._wish.switch and (self.status.equal or self._wish.even_if_different):
                self._enter("switching")
                await _to_its_end(asyncio.to_thread(tables.switch, clickhouse, keep=self._wish.keep))
                self.status.switched = True
            self.status.paused_ms = (time.monotonic() - began) * 1e3

    def _enter(self, phase: Phase) -> None:
        self.status.phase = phase
        _log.info("rebuild: %s", phase)


async def _to_its_end(work: Coroutine[None, None, None]) -> None:
    """Await it even where this is cancelled: inserts must not go on while tables are exchanged."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _fields(marks: Marks) -> dict[str, int]:
    return {name.field(): mark for name, mark in marks.items()}


def _mark_rows(frame: Frame) -> pa.Table:
    found = [(MarkName.parse(field), topic, mark) for field, (topic, mark) in frame.marks.items() if mark]
    return pa.table(
        {
            "topic_id": pa.array([name.topic_id for name, _, _ in found], pa.string()),
            "partition": pa.array([name.partition for name, _, _ in found], pa.uint32()),
            "topic": pa.array([topic for _, topic, _ in found], pa.string()),
            "mark": pa.array([mark for _, _, mark in found], pa.uint64()),
        }
    )


def _compared(found: tables.TableParity) -> Compared:
    return Compared(
        table=found.table, live_rows=found.live_rows, next_rows=found.next_rows, equal=found.equal,
        digest=found.next_digest,
    )  # fmt: skip


class Rebuilds:
    """The rebuild of this process, one at a time."""

    def __init__(self, kafka: KafkaSettings, sink: WarehouseSink, connect: Connect) -> None:
        self._kafka = kafka
        self._sink = sink
        self._connect = connect
        self._task: asyncio.Task[None] | None = None
        self._current: Rebuild | None = None

    def start(self, wish: Wish) -> None:
        """Begin, or go on with what is there. Raises RuntimeError while one is running."""
        if self._task is not None and not self._task.done():
            raise RuntimeError("refused: a rebuild of the warehouse goes on already; watch it, or stop it with --stop")
        self._current = Rebuild(self._kafka, self._sink, self._connect, wish)
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
