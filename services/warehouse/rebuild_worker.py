"""A process that reads partitions of the log and hands over rows: `python -m services.warehouse.rebuild_worker`.

It has no store and no group. What it holds is bounded by `hold_records`; while nobody takes its frames it waits.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import psutil
import pyarrow as pa
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.plain_feedback import is_plain
from contracts.topics import FEEDBACK
from services.common.kafka.consuming.light import LightRecord, as_it_is
from services.common.kafka.consuming.model import Poison
from services.common.process.lean import without_pandas
from services.common.process.loop import run
from services.common.process.telemetry import configure_logging
from services.warehouse.rebuild_job import Block, Frame, Job, Limits, Partition
from services.warehouse.rebuild_lines import plain_feedback
from services.warehouse.rows import Place, Placed
from services.warehouse.sink import TABLES, Value, read_value

_FETCH_BYTES: Final = 2 << 20
_AT_ONCE: Final = 4_000
_WAIT_SECONDS: Final = 0.5
# Small inserts cost the engine far more a row: far from the limits a frame waits until it is full.
_HOLD_SECONDS: Final = 5.0
_DATA_FAULTS: Final = (pa.ArrowInvalid, OverflowError, UnicodeEncodeError)


class Held:
    """Records read since the last frame, as rows to be."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.partitions: list[int] = []
        self.offsets: list[int] = []
        self.topic_id = ""
        self.others: list[Placed[Value]] = []
        self.records = self.poison = 0

    def add(self, partition: Partition, record: LightRecord) -> None:
        """Take one record in."""
        self.records += 1
        offset, timestamp, value = record
        if partition.topic == FEEDBACK.name and value is not None and is_plain(value):
            self.lines.append(value)
            self.partitions.append(partition.partition)
            self.offsets.append(offset)
            self.topic_id = partition.topic_id
            return
        decoded = read_value(partition.topic, value)
        if isinstance(decoded, Poison):
            self.poison += 1
        else:
            self.others.append((Place(partition.topic_id, partition.partition, offset, timestamp), decoded))

    def tables(self) -> Iterator[tuple[str, pa.Table]]:
        """Rows by table. What no table takes is left out and counted as poison."""
        if self.lines:
            yield "feedback", plain_feedback(self.lines, self.topic_id, self.partitions, self.offsets)
        for table, kinds, build in TABLES:
            wanted = [row for row in self.others if isinstance(row[1], kinds)]
            for part in self._built(build, wanted):
                yield table, part

    def _built(self, build: Any, wanted: Sequence[Placed[Any]]) -> list[pa.Table]:
        """As one table; where a value does not fit its column, bisected down to the one record, which is left out."""
        if not wanted:
            return []
        try:
            return [build(wanted)]
        except _DATA_FAULTS:
            if len(wanted) == 1:
                self.poison += 1
                return []
            middle = len(wanted) // 2
            return [*self._built(build, wanted[:middle]), *self._built(build, wanted[middle:])]


class Reader:
    """One job. `await start()`, then `frames()` for ever."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._partitions = {TopicPartition(p.topic, p.partition): p for p in job.partitions}
        self._limits = dict(job.limits)
        self._changed = asyncio.Event()
        self._next: dict[TopicPartition, int] = {}
        self._began, self._taken = time.monotonic(), 0
        self._consumer: Any = AIOKafkaConsumer(
            bootstrap_servers=job.kafka.bootstrap_servers,
            client_id="animusic-rebuild",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_FETCH_BYTES,
            value_deserializer=as_it_is,
        )

    async def start(self) -> None:
        """Stand where the job says. Raises aiokafka's KafkaError."""
        await self._consumer.start()
        tps = list(self._partitions)
        self._consumer.assign(tps)
        begins = await self._consumer.beginning_offsets(tps)
        for tp, partition in self._partitions.items():
            self._next[tp] = max(begins[tp], partition.start or 0)
            self._consumer.seek(tp, self._next[tp])
        self._pause_what_is_there()

    async def close(self) -> None:
        """Hang up."""
        await self._consumer.stop()

    def limit(self, limits: dict[str, int]) -> None:
        """Read on up to here."""
        self._limits = limits
        self._changed.set()

    async def frames(self) -> Any:
        """(frame, its blocks' bytes), each as soon as it is worth it."""
        held, moved, since = Held(), set(self._partitions), time.monotonic()
        while True:
            before = dict(self._next)
            for tp, records in (await self._fetch()).items():
                self._take(tp, records, held)
            moved |= {tp for tp, offset in self._next.items() if offset != before[tp]}
            full = held.records >= self._job.hold_records or time.monotonic() - since > _HOLD_SECONDS
            if moved and (full or self._is_there()):
                yield self._frame(held, moved)
                await self._keep_pace(held.records)
                held, moved, since = Held(), set(), time.monotonic()

    async def _fetch(self) -> dict[TopicPartition, list[LightRecord]]:
        self._pause_what_is_there()
        if self._is_there():
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _WAIT_SECONDS)
            return {}
        found: dict[TopicPartition, list[LightRecord]] = await self._consumer.getmany(
            timeout_ms=100, max_records=self._at_once
        )
        if not found:
            await self._step_over_holes()
        return found

    async def _step_over_holes(self) -> None:
        """The last records before a limit may have been compacted away: then the log itself goes on behind them."""
        for tp in self._partitions:
            self._next[tp] = max(self._next[tp], await self._consumer.position(tp))

    def _take(self, tp: TopicPartition, records: list[LightRecord], held: Held) -> None:
        partition, limit = self._partitions[tp], self._limit(self._partitions[tp])
        for record in records:
            if record[0] >= limit:
                self._next[tp] = limit
                self._consumer.seek(tp, limit)
                return
            held.add(partition, record)
        self._next[tp] = records[-1][0] + 1

    def _limit(self, partition: Partition) -> int:
        return self._limits.get(partition.name.field(), 0)

    def _is_there(self) -> bool:
        """Whether every partition was read to its limit."""
        return all(self._next[tp] >= self._limit(partition) for tp, partition in self._partitions.items())

    def _pause_what_is_there(self) -> None:
        """Nothing is fetched of a partition that has reached its limit."""
        for tp, partition in self._partitions.items():
            if self._next[tp] >= self._limit(partition):
                self._consumer.pause(tp)
            elif tp in self._consumer.paused():
                self._consumer.resume(tp)

    def _frame(self, held: Held, moved: set[TopicPartition]) -> tuple[Frame, list[bytes]]:
        blocks, parts = [], []
        for table, rows in held.tables():
            encoded = _encoded(rows)
            blocks.append(Block(table=table, size=len(encoded), rows=rows.num_rows))
            parts.append(encoded)
        marks = {self._partitions[tp].name.field(): (tp.topic, self._next[tp]) for tp in moved}
        frame = Frame(
            blocks=tuple(blocks), marks=marks, records=held.records, poison=held.poison,
            memory=psutil.Process().memory_info().rss, cpu_seconds=time.process_time(),
        )  # fmt: skip
        return frame, parts

    @property
    def _at_once(self) -> int:
        """Half a second's records at the most, so that a slow pace is even."""
        return _AT_ONCE if self._job.rate is None else max(1, min(_AT_ONCE, int(self._job.rate / 2)))

    async def _keep_pace(self, records: int) -> None:
        self._taken += records
        if self._job.rate:
            await asyncio.sleep(max(0.0, self._began + self._taken / self._job.rate - time.monotonic()))


def _encoded(rows: pa.Table) -> bytes:
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, rows.schema) as writer:
        writer.write_table(rows.combine_chunks())
    return bytes(stream.getvalue())


async def main() -> None:
    """The process: ends when its standard input does."""
    without_pandas()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    job = Job.model_validate_json(await lines.readline())
    reader = Reader(job)
    listening = asyncio.create_task(_listen(lines, reader))
    try:
        await reader.start()
        async for frame, parts in reader.frames():
            await asyncio.to_thread(_hand_over, frame, parts)
    except (KafkaError, ConnectionError, LookupError, OSError) as error:
        _hand_over(Frame(error=str(error) or type(error).__name__), [])
    finally:
        listening.cancel()
        await reader.close()


async def _listen(lines: asyncio.StreamReader, reader: Reader) -> None:
    while line := await lines.readline():
        reader.limit(Limits.model_validate_json(line).limits)
    # Whoever started this process is gone or wants no more: its marks say how far it came.
    os._exit(0)


def _hand_over(frame: Frame, parts: list[bytes]) -> None:
    out = sys.stdout.buffer
    out.write(frame.model_dump_json().encode() + b"\n")
    for part in parts:
        out.write(part)
    out.flush()


if __name__ == "__main__":
    configure_logging(os.environ.get("ANIMUSIC_LOG_LEVEL", "WARNING"))
    run(main())
