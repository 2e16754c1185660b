"""Tables that are emptied at every moment of a flush, in a real engine: no mark assignments what is not there."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from contracts.events import FeedbackEvent
from contracts.marks import MarkName
from contracts.topics import FEEDBACK
from services.common.clickhouse import ChdbConnection, ClickhouseError
from services.common.kafka.consuming.model import Assignment, DecodedRecord, Slice
from services.warehouse.marks import stored_marks
from services.warehouse.sink import Value, WarehouseSink
from tests.connected.warehouse import engine as shared
from tests.support.histories import histories

pytestmark = pytest.mark.connected

EVENTS: list[FeedbackEvent] = [event for history in histories(41, 3) for event in history.events][:30]
ASSIGNMENT = Assignment(MarkName("b" * 32, 1), FEEDBACK.name, 8)
SETTLE_SECONDS = 0.05


class Interrupted:
    """The connection, with something done to the tables before or after the insert into one of them."""

    def __init__(self, connection: ChdbConnection) -> None:
        self._connection = connection
        self._before: dict[str, Callable[[], None]] = {}
        self._after: dict[str, Callable[[], None]] = {}
        self.command, self.query, self.close = connection.command, connection.query, connection.close

    def before(self, table: str, then: Callable[[], None]) -> None:
        """Once, before the next insert into it."""
        self._before[f"animusic.{table}"] = then

    def after(self, table: str, then: Callable[[], None]) -> None:
        """Once, after the next insert into it."""
        self._after[f"animusic.{table}"] = then

    def insert(self, table: str, rows: pa.Table) -> None:
        self._before.pop(table, lambda: None)()
        self._connection.insert(table, rows)
        self._after.pop(table, lambda: None)()


@pytest.fixture
def interrupted(clickhouse: ChdbConnection) -> Interrupted:
    return Interrupted(clickhouse)


def flushed(sink: WarehouseSink, first: int, upto: int) -> Slice[Value]:
    """The events of these offsets, as the consumer hands them over."""
    items = []
    for offset in range(first, upto):
        record: Any = SimpleNamespace(
            topic=FEEDBACK.name, partition=1, offset=offset, timestamp=1, value=EVENTS[offset].log_value()
        )
        items.append(DecodedRecord(record, sink.decode(record)))
    return Slice(ASSIGNMENT, first, upto, items)  # type: ignore[arg-type]


def offsets(clickhouse: ChdbConnection) -> list[int]:
    found = clickhouse.query("SELECT DISTINCT `offset` FROM animusic.feedback ORDER BY `offset`")
    return [int(offset) for offset in found["offset"].to_pylist()]


def _moments() -> list[tuple[str, str]]:
    return [("before", "feedback"), ("after", "feedback"), ("before", "marks"), ("after", "marks")]


@pytest.mark.parametrize(("when", "table"), _moments(), ids=str)
@pytest.mark.parametrize("start", [0, 10], ids=["the first flush", "a later flush"])
async def test_a_wipe_is_noticed_and_all_is_filled_again(
    clickhouse: ChdbConnection, interrupted: Interrupted, when: str, table: str, start: int
) -> None:
    sink = WarehouseSink(interrupted, SETTLE_SECONDS)
    assert await sink.marks([ASSIGNMENT]) == {ASSIGNMENT.name: None}
    if start:
        assert not (await sink.flush([flushed(sink, 0, start)])).refused
    getattr(interrupted, when)(table, lambda: shared.empty(clickhouse))
    assert (await sink.flush([flushed(sink, start, 20)])).refused == {ASSIGNMENT.name: None}
    assert await sink.marks([ASSIGNMENT]) == {ASSIGNMENT.name: None}
    assert not (await sink.flush([flushed(sink, 0, 30)])).refused
    assert await sink.marks([ASSIGNMENT]) == {ASSIGNMENT.name: 30}
    assert offsets(clickhouse) == list(range(30))


async def test_marks_inserted_behind_a_wipe_by_a_process_that_died_are_not_believed(
    clickhouse: ChdbConnection, interrupted: Interrupted
) -> None:
    sink = WarehouseSink(interrupted, SETTLE_SECONDS)
    assert await sink.marks([ASSIGNMENT]) == {ASSIGNMENT.name: None}
    interrupted.before("marks", lambda: shared.empty(clickhouse))
    interrupted.after("marks", _die)
    with pytest.raises(ZeroDivisionError):
        await sink.flush([flushed(sink, 0, 20)])
    assert stored_marks(clickhouse) == {ASSIGNMENT.name: 20}
    assert offsets(clickhouse) == []
    again = WarehouseSink(clickhouse, SETTLE_SECONDS)
    assert await again.marks([ASSIGNMENT]) == {ASSIGNMENT.name: None}
    assert not (await again.flush([flushed(again, 0, 20)])).refused
    assert offsets(clickhouse) == list(range(20))


def _die() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(("when", "table"), _moments(), ids=str)
@pytest.mark.parametrize("statement", ["DATABASE animusic", "TABLE animusic.feedback", "TABLE animusic.marks"])
async def test_what_is_dropped_is_made_again(
    clickhouse: ChdbConnection, interrupted: Interrupted, when: str, table: str, statement: str
) -> None:
    sink = WarehouseSink(interrupted, SETTLE_SECONDS)
    assert not (await sink.flush([flushed(sink, 0, 10)])).refused
    getattr(interrupted, when)(table, lambda: clickhouse.command(f"DROP {statement} SYNC"))
    begin, upto = 10, 20
    for _ in range(4):
        try:
            refused = (await sink.flush([flushed(sink, begin, upto)])).refused
        except ClickhouseError as error:
            assert error.missing, error
            continue
        begin = 0 if refused else upto
        upto = min(upto + 10, 30) if not refused else upto
    assert await sink.marks([ASSIGNMENT]) == {ASSIGNMENT.name: 30}
    assert offsets(clickhouse) == list(range(30))
