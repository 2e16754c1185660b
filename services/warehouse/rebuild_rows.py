"""The sink of a rebuild's worker: it holds no store, and hands rows over to the process that has the engine."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from contracts.marks import MarkName
from services.common.kafka.consuming.model import Assignment, FlushResult, Poison, Record, Slice
from services.common.process.startup import without_pandas
from services.warehouse.sink import Value, read_value, tables_of

HandOver = Callable[[Sequence[tuple[str, bytes]]], Awaitable[None]]


class RowsSink:
    """Turns slices into the tables of the live sink, the marks last, each an Arrow stream by the name of its table."""

    step = "warehouse"
    outages: tuple[type[Exception], ...] = ()

    def __init__(self, marks: Mapping[str, int], hand_over: HandOver) -> None:
        self._marks = marks
        self._hand_over = hand_over

    def decode(self, record: Record) -> Value | Poison:
        """See `read_value`."""
        return read_value(record.topic, record.value)

    async def marks(self, assignments: Sequence[Assignment]) -> dict[MarkName, int | None]:
        """The marks that the new tables had when the worker was started."""
        return {assignment.name: self._marks.get(assignment.name.field()) for assignment in assignments}

    async def flush(self, slices: Sequence[Slice[Value]]) -> FlushResult:
        """Hand everything over. Raises Unflushable where a value does not fit its column."""
        await self._hand_over([(table, _encoded(rows)) for table, rows in tables_of(slices).items()])
        return FlushResult()


def rows_sink(options: Mapping[str, Any], hand_over: HandOver) -> RowsSink:
    """See services.rebuild.job: `marks`, name of a mark -> mark."""
    without_pandas()
    return RowsSink(options["marks"], hand_over)


def _encoded(rows: pa.Table) -> bytes:
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, rows.schema) as writer:
        writer.write_table(rows.combine_chunks())
    return bytes(stream.getvalue())
