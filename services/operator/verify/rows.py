"""The rows of `feedback` against the records of a partition: each record has one row, and no row is without a record.

An exact copy of a row is no fault: merges and views take it for one. A second row of the same place that is no copy is.
"""

from typing import Any, Final

from contracts.topics import FEEDBACK
from services.common.settings import KafkaSettings
from services.operator.verify.clickhouse import RANGES, ROWS, Warehouse
from services.operator.verify.log import RANGE, Bounds, Letters, Range, Told, read, records, refused_by
from services.operator.verify.model import Fault, Kind, Report

_OFFSETS_A_QUERY: Final = 50 * RANGE
# Event id, user id, time of receipt (ms).
Row = tuple[str, str, int]


class RowCheck:
    """Compares sums of ranges of offsets; where two differ, row by row. May raise what its clients raise."""

    def __init__(self, kafka: KafkaSettings, warehouse: Warehouse, letters: Letters, report: Report) -> None:
        self._kafka = kafka
        self._warehouse = warehouse
        self._letters = letters
        self._report = report

    async def run(self, bounds: Bounds, told: Told) -> None:
        """Compare one partition."""
        self._report.rows += sum(part.records for part in told.ranges.values())
        for start in range(bounds.begin // RANGE * RANGE, bounds.upto, _OFFSETS_A_QUERY):
            first, upto = max(bounds.begin, start), min(bounds.upto, start + _OFFSETS_A_QUERY)
            found = {row["at"]: row for row in await self._ask(RANGES, bounds, first, upto, range=RANGE)}
            ours = {at: part for at, part in told.ranges.items() if start <= at * RANGE < upto}
            for at in sorted(found.keys() | ours.keys()):
                if not _equal(found.get(at), ours.get(at, Range())):
                    await self._compare(bounds, max(first, at * RANGE), min(upto, (at + 1) * RANGE))

    async def _ask(self, statement: str, bounds: Bounds, first: int, upto: int, **more: Any) -> list[dict[str, Any]]:
        return await self._warehouse.ask(
            statement, topic_id=bounds.topic_id, partition=bounds.partition, first=first, upto=upto, **more
        )

    async def _compare(self, bounds: Bounds, first: int, upto: int) -> None:
        wanted: dict[int, Row] = {}
        async for batch in records(self._kafka, {bounds.tp: (first, upto)}):
            for record in batch:
                event = read(record)
                if event is not None and "warehouse" not in refused_by(self._letters, record):
                    wanted[record.offset] = (str(event.event_id), event.user_id, event.received_at)
        rows: dict[int, list[Row]] = {}
        for row in await self._ask(ROWS, bounds, first, upto):
            rows.setdefault(row["offset"], []).append((row["event_id"], row["user_id"], row["received_ms"]))
        for offset in sorted(wanted.keys() | rows.keys()):
            place = f"{FEEDBACK.name}/{bounds.partition}@{offset}"
            self._compare_place(place, wanted.get(offset), rows.get(offset, []))

    def _compare_place(self, place: str, told: Row | None, rows: list[Row]) -> None:
        if told is not None and told not in rows:
            self._add("row missing", told, _said(told), "nothing", place)
        kind: Kind = "row doubled" if told is not None and told in rows else "extra row"
        for row in rows:
            if row != told:
                self._add(kind, row, _said(told), _said(row), place)

    def _add(self, kind: Kind, row: Row, log: str, held: str, place: str) -> None:
        self._report.add(Fault("clickhouse", kind, row[1], f"event {row[0]}", log, held, (place,)))


def _equal(row: dict[str, Any] | None, part: Range) -> bool:
    if row is None:
        return not part.records
    return (row["records"], int(row["digest"] or "0", 16)) == (part.records, part.digest)


def _said(row: Row | None) -> str:
    if row is None:
        return "no such record"
    return f"event {row[0]} of {row[1]}, received at {row[2]}"
