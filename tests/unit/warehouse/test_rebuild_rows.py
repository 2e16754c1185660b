"""What a worker of a rebuild hands over: the tables of the live sink, the marks last, each as an Arrow stream."""

from collections.abc import Sequence
from types import SimpleNamespace

import pyarrow as pa
import pytest

from contracts.marks import MarkName
from contracts.topics import FEEDBACK
from services.common.kafka.consuming.model import Assignment, DecodedRecord, Gap, Poison, Slice, Unflushable
from services.warehouse.rebuild_rows import RowsSink
from services.warehouse.sink import Value
from tests.support.histories import histories

NAME = MarkName("a" * 32, 3)
ASSIGNMENT = Assignment(NAME, FEEDBACK.name, 8)


async def handed_over(slices: Sequence[Slice[Value]]) -> dict[str, pa.Table]:
    blocks: list[tuple[str, bytes]] = []

    async def take(some: Sequence[tuple[str, bytes]]) -> None:
        blocks.extend(some)

    result = await RowsSink({}, take).flush(slices)
    assert result.refused == {}
    return {name: pa.ipc.open_stream(block).read_all() for name, block in blocks}


def some_slice(count: int, **changes: object) -> Slice[Value]:
    events = [event for history in histories(3, 40) for event in history.events][:count]
    items: list[DecodedRecord[Value]] = []
    for offset, event in enumerate(events, 5):
        record = SimpleNamespace(topic=FEEDBACK.name, partition=3, offset=offset, timestamp=1, value=event.log_value())
        value = RowsSink({}, None).decode(record)  # type: ignore[arg-type]
        assert not isinstance(value, Poison)
        items.append(DecodedRecord(record, value.model_copy(update=changes)))  # type: ignore[union-attr]
    return Slice(ASSIGNMENT, 5, 5 + count, items, (Gap(1, 5),))


async def test_rows_come_before_what_was_lost_and_marks_come_last():
    found = await handed_over([some_slice(20)])
    assert list(found) == ["feedback", "gaps", "marks"]
    assert found["feedback"]["offset"].to_pylist() == list(range(5, 25))
    assert found["gaps"].to_pylist() == [
        {"topic_id": NAME.topic_id, "partition": 3, "topic": FEEDBACK.name, "from_offset": 1, "to_offset": 5}
    ]
    assert found["marks"].to_pylist() == [
        {"topic_id": NAME.topic_id, "partition": 3, "topic": FEEDBACK.name, "mark": 25}
    ]


async def test_a_value_that_no_column_takes_is_unflushable():
    with pytest.raises(Unflushable, match="feedback"):
        await handed_over([some_slice(2, slot=1 << 40)])


async def test_it_goes_on_from_the_marks_that_it_was_given():
    sink = RowsSink({NAME.field(): 7}, None)  # type: ignore[arg-type]
    other = Assignment(MarkName("b" * 32, 0), FEEDBACK.name, 8)
    assert await sink.marks([ASSIGNMENT, other]) == {NAME: 7, other.name: None}
