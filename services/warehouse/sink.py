"""The warehouse's sink: it inserts rows first, then the high-water mark."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import pyarrow as pa
from pydantic import ValidationError

from contracts.catalogue import Song, WithdrawnSong
from contracts.events import FeedbackEvent, first_error
from contracts.ledger import AcknowledgementEntry, Round, Tally
from contracts.marks import MarkName
from contracts.model_builds import ModelBuild
from contracts.models import LiveModel
from contracts.playlists import ServedPlaylist
from contracts.profiles import AnimeList, Forgotten
from contracts.records import read_record
from contracts.topics import CATALOGUE, FEEDBACK, LEDGER, MODEL_BUILDS, MODELS, PLAYLISTS, PROFILES
from services.common.clickhouse import DATABASE, Clickhouse, ClickhouseError
from services.common.kafka.consuming.model import Assignment, FlushResult, Poison, Record, Slice, Unflushable
from services.warehouse import rows, rows_of_ledger
from services.warehouse.marks import SETTLE_SECONDS, MarkState, MarkTable
from services.warehouse.rows import Place, Placed

R = TypeVar("R")
Value = (
    FeedbackEvent | ServedPlaylist | Song | WithdrawnSong | LiveModel | ModelBuild | AnimeList | Forgotten
    | AcknowledgementEntry | Tally | Round | None
)  # fmt: skip

TOPICS: Final = (
    FEEDBACK.name, PLAYLISTS.name, PROFILES.name, CATALOGUE.name, MODELS.name, MODEL_BUILDS.name, LEDGER.name,
)  # fmt: skip
# These topics have no tombstones: a record of its own forgets a user.
_NO_TOMBSTONES: Final = frozenset({FEEDBACK.name, PLAYLISTS.name, MODEL_BUILDS.name, PROFILES.name, LEDGER.name})
# Which table takes which records, in the order of insertion.
TABLES: Final[tuple[tuple[str, tuple[type, ...], Callable[[Sequence[Placed[Any]]], pa.Table]], ...]] = (
    ("feedback", (FeedbackEvent,), rows.feedback),
    ("playlists", (ServedPlaylist,), rows.playlists),
    ("served_slots", (ServedPlaylist,), rows.served_slots),
    ("catalogue", (Song, WithdrawnSong), rows.catalogue),
    ("model_switches", (LiveModel,), rows.model_switches),
    ("model_builds", (ModelBuild,), rows.model_builds),
    ("ledger_spans", (AcknowledgementEntry, Tally), rows_of_ledger.spans),
    ("ledger_folded", (Tally,), rows_of_ledger.folded),
    ("probe_rounds", (Round,), rows_of_ledger.rounds),
    ("forgotten", (Forgotten,), rows.forgotten),
)


def read_value(topic: str, value: bytes | None) -> Value | Poison:
    """The typed record. A tombstone of a song or an arm is None: it has no row, and is no mistake."""
    if value is None:
        return Poison("the record has no value") if topic in _NO_TOMBSTONES else None
    try:
        decoded: Value = read_record(topic, value)
    except ValidationError as error:
        return Poison(first_error(error))
    return decoded


class WarehouseSink:
    """Inserts the log's records. Rows are keyed by content and offset, so inserting again is harmless.

    While `held` is taken nothing is inserted: a rebuild exchanges tables meanwhile. Tables that are emptied or dropped
    are noticed, whenever it happens, and the log is read again (see `services/warehouse/marks.py`).
    """

    step = "warehouse"
    outages: tuple[type[Exception], ...] = (ClickhouseError,)

    def __init__(self, clickhouse: Clickhouse, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._clickhouse = clickhouse
        self._marks = MarkTable(clickhouse, settle_seconds)
        self.insert_lock = asyncio.Lock()

    def decode(self, record: Record) -> Value | Poison:
        """See `read_value`."""
        return read_value(record.topic, record.value)

    async def marks(self, assignments: Sequence[Assignment]) -> dict[MarkName, int | None]:
        """The marks that were inserted; None where there is none. Raises ClickhouseError."""
        async with self.insert_lock:
            stored = (await asyncio.to_thread(self._recreating_tables, self._read_marks)).marks
        return {assignment.name: stored.get(assignment.name) for assignment in assignments}

    async def flush(self, slices: Sequence[Slice[Value]]) -> FlushResult:
        """Insert all rows, then the marks. Refuses a slice that goes on from further than the store has come.

        Raises ClickhouseError (try again) or Unflushable (a row that no table takes).
        """
        async with self.insert_lock:
            return await asyncio.to_thread(self._recreating_tables, lambda: self._flush(slices))

    def _recreating_tables(self, work: Callable[[], R]) -> R:
        """Do the work. A missing table is created again, and the error is raised all the same: the consumer retries."""
        try:
            return work()
        except ClickhouseError as error:
            if error.missing:
                self._marks.recreate_dropped(str(error).splitlines()[0])
            raise

    def _read_marks(self) -> MarkState:
        self._marks.recreate_missing()
        return self._marks.read()

    def _flush(self, slices: Sequence[Slice[Value]]) -> FlushResult:
        before = self._marks.read()
        stored = before.marks
        refused = {
            s.assignment.name: stored.get(s.assignment.name)
            for s in slices
            if stored.get(s.assignment.name, 0) < s.after
        }
        accepted = [s for s in slices if s.assignment.name not in refused]
        tables = tables_of(accepted)
        marks = tables.pop("marks")
        for table, found in tables.items():
            self._insert(table, found)
        if accepted and not self._marks.write(marks, before):
            refused |= {part.assignment.name: None for part in accepted}
        return FlushResult(refused)

    def _insert(self, table: str, found: pa.Table) -> None:
        try:
            self._clickhouse.insert(f"{DATABASE}.{table}", found)
        except ClickhouseError as error:
            if error.about_data:
                raise Unflushable(f"ClickHouse refuses a row of {table}: {error}") from error
            raise


def rows_of(placed: Sequence[Placed[Any]]) -> dict[str, pa.Table]:
    """Table -> its rows, of those that have any, in the order of insertion. Raises Unflushable."""
    found = {}
    for table, kinds, build in TABLES:
        if wanted := [row for row in placed if isinstance(row[1], kinds)]:
            try:
                found[table] = build(wanted)
            except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError) as error:
                raise Unflushable(f"a value does not fit its column of {table}: {error}") from error
    return found


def tables_of(slices: Sequence[Slice[Value]]) -> dict[str, pa.Table]:
    """What slices say, by table, in the order of insertion: rows, what the log lost, the marks. Raises Unflushable."""
    found = rows_of([row for part in slices for row in _placed(part)])
    gaps = [
        {**part.assignment.name._asdict(), "topic": part.assignment.topic,
         "from_offset": gap.first, "to_offset": gap.upto}
        for part in slices
        for gap in part.gaps
    ]  # fmt: skip
    if gaps:
        found["gaps"] = pa.Table.from_pylist(gaps)
    return {**found, "marks": _mark_rows(slices)}


def _placed(part: Slice[Value]) -> Iterator[Placed[Value]]:
    topic_id, partition = part.assignment.name
    for record, value in part.items:
        yield Place(topic_id, partition, record.offset, record.timestamp), value


def _mark_rows(slices: Sequence[Slice[Value]]) -> pa.Table:
    names = [part.assignment.name for part in slices]
    return pa.table(
        {
            "topic_id": pa.array([name.topic_id for name in names], pa.string()),
            "partition": pa.array([name.partition for name in names], pa.uint32()),
            "topic": pa.array([part.assignment.topic for part in slices], pa.string()),
            "mark": pa.array([part.upto for part in slices], pa.uint64()),
        }
    )
