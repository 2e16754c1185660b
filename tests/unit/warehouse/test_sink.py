"""What the sink makes of records: every example of the contracts, rows of each, and a value that no column takes."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from contracts.events import FeedbackEvent
from contracts.evolution.versions import NewerSchema
from contracts.marks import MarkName
from contracts.profiles import AnimeList
from services.common.clickhouse import ClickhouseError, parameter, quoted
from services.common.kafka.consuming.model import Assignment, DecodedRecord, Gap, Poison, Slice, Unflushable
from services.warehouse.migrations import migrations
from services.warehouse.sink import TOPICS, WarehouseSink

EXAMPLES = Path(__file__).parents[3] / "contracts" / "examples"
NAME = MarkName("a" * 32, 3)
BEGINNING = pa.table({"topic_id": [""], "topic": ["beginning"], "partition": [0], "mark": [77]})


class Recorder:
    """Keeps what is inserted, in order; its marks are what was inserted as marks."""

    def __init__(self, fail_on: str = "", code: int = 0) -> None:
        self.inserted: list[tuple[str, pa.Table]] = []
        self._fail_on, self._code = fail_on, code

    def command(self, statement: str) -> None:
        raise AssertionError(statement)

    def insert(self, table: str, rows: pa.Table) -> None:
        if table.endswith(self._fail_on) and self._code:
            raise ClickhouseError(f"Code: {self._code}. DB::Exception: no")
        self.inserted.append((table.removeprefix("animusic."), rows))

    def query(self, statement: str, _parameters: Any = None) -> pa.Table:
        if "system.tables" in statement:
            return pa.table(
                {"name": re.findall(r"IF NOT EXISTS animusic\.(\w+)", "".join(m.text for m in migrations()))}
            )
        marks = [rows.to_pylist() for table, rows in self.inserted if table == "marks"]
        return pa.Table.from_pylist([*BEGINNING.to_pylist(), *(row for some in marks for row in some)])

    def close(self) -> None:
        """Nothing is open."""


def record(topic: str, value: bytes | None, offset: int = 7) -> SimpleNamespace:
    """A fetched record."""
    return SimpleNamespace(topic=topic, partition=3, offset=offset, timestamp=1_700_000_000_000, key=b"k", value=value)


def examples(quality: str) -> list[Path]:
    """The example records of the topics that the warehouse follows."""
    return sorted(path for topic in TOPICS for path in (EXAMPLES / topic).glob(f"*.{quality}*.json"))


def slice_of(sink: WarehouseSink, topic: str, *values: bytes, after: int = 0) -> Slice[Any]:
    """Records from offset 7 on, decoded."""
    records = [record(topic, value, 7 + i) for i, value in enumerate(values)]
    items = [DecodedRecord(found, sink.decode(found)) for found in records]
    return Slice(Assignment(NAME, topic, 8), after, 7 + len(values), items)


@pytest.mark.parametrize("path", examples("good"), ids=lambda path: path.name)
async def test_every_good_example_becomes_rows_and_then_a_mark(path: Path) -> None:
    store = Recorder()
    sink = WarehouseSink(store)
    assert not (await sink.flush([slice_of(sink, path.parent.name, path.read_bytes())])).refused
    *rows, (last, mark) = store.inserted
    assert (last, mark["mark"].to_pylist(), mark["topic_id"].to_pylist()) == ("marks", [8], [NAME.topic_id])
    assert rows or isinstance(sink.decode(record(path.parent.name, path.read_bytes())), AnimeList)
    for _, table in rows:
        assert table.num_rows
        assert "offset" not in table.column_names or set(table["offset"].to_pylist()) == {7}
    assert await sink.marks([Assignment(NAME, path.parent.name, 8)]) == {NAME: 8}


@pytest.mark.parametrize("path", examples("bad"), ids=lambda path: path.name)
def test_every_bad_example_is_poison_and_says_why(path: Path) -> None:
    found = WarehouseSink(Recorder()).decode(record(path.parent.name, path.read_bytes()))
    assert isinstance(found, Poison)
    assert found.reason


def test_a_newer_schema_is_no_poison() -> None:
    with pytest.raises(NewerSchema):
        WarehouseSink(Recorder()).decode(record("animusic.feedback.v1", b'{"schema":2}'))


def test_bytes_that_are_no_json_and_missing_values() -> None:
    sink = WarehouseSink(Recorder())
    assert isinstance(sink.decode(record("animusic.feedback.v1", b"\xff")), Poison)
    for topic in ("animusic.feedback.v1", "animusic.playlists.v1", "animusic.profiles.v1"):
        assert isinstance(sink.decode(record(topic, None)), Poison)
    assert sink.decode(record("animusic.catalogue.v1", None)) is None


def event(**fields: Any) -> bytes:
    """An event as the log keeps it."""
    base = {
        "schema": 1, "event_id": str(UUID(int=1)), "kind": "liked", "user_id": "u", "song_id": "s",
        "occurred_at": 1_700_000_000_000, "received_at": 1_700_000_000_000,
    }  # fmt: skip
    return json.dumps({**base, **fields}).encode()


async def test_a_value_that_no_column_takes_is_unflushable() -> None:
    sink = WarehouseSink(Recorder())
    with pytest.raises(Unflushable, match="does not fit its column of feedback"):
        await sink.flush([slice_of(sink, "animusic.feedback.v1", event(), event(issued_at=1 << 70))])


@pytest.mark.parametrize(("code", "expected"), [(53, Unflushable), (241, ClickhouseError), (243, ClickhouseError)])
async def test_clickhouse_refusing_data_is_told_from_an_outage(code: int, expected: type[Exception]) -> None:
    store = Recorder("feedback", code)
    sink = WarehouseSink(store)
    with pytest.raises(expected):
        await sink.flush([slice_of(sink, "animusic.feedback.v1", event())])
    assert store.inserted == []


async def test_a_store_that_is_behind_refuses() -> None:
    store = Recorder()
    sink = WarehouseSink(store)
    assert (await sink.flush([slice_of(sink, "animusic.feedback.v1", event(), after=5)])).refused == {NAME: None}
    assert store.inserted == []


async def test_what_the_log_lost_is_recorded() -> None:
    store = Recorder()
    sink = WarehouseSink(store)
    assignment = Assignment(NAME, "animusic.feedback.v1", 8)
    await sink.flush([Slice(assignment, 0, 5, [])])
    assert [table for table, _ in store.inserted if table == "gaps"] == []
    await sink.flush([Slice(assignment, 5, 91, [], gaps=(Gap(5, 80), Gap(85, 90)))])
    (gaps,) = [rows.to_pylist() for table, rows in store.inserted if table == "gaps"]
    assert [(gap["partition"], gap["from_offset"], gap["to_offset"]) for gap in gaps] == [(3, 5, 80), (3, 85, 90)]


def test_rows_keep_every_field_of_an_event() -> None:
    from services.warehouse.rows import Place, feedback

    full = FeedbackEvent.model_validate_json((EXAMPLES / "animusic.feedback.v1" / "progress.good.json").read_bytes())
    (row,) = feedback([(Place("t", 1, 2, 3), full)]).to_pylist()
    told = full.model_dump(by_alias=True)
    for ours, theirs in (("occurred_ms", "occurred_at"), ("received_ms", "received_at"), ("issued_ms", "issued_at")):
        row[theirs] = row.pop(ours)
    assert row.keys() - told.keys() == {"topic_id", "partition", "offset"}
    for name, value in told.items():
        expected = value.bytes if isinstance(value, UUID) else value
        assert row[name] == ("" if expected is None and row[name] == "" else expected), name


def test_literals_and_parameters_are_escaped() -> None:
    assert quoted("it's \\ so") == r"'it\'s \\ so'"
    assert parameter("a\tb\nc\\") == r"a\tb\nc\\"
