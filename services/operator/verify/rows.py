"""The rows of `feedback` against the records of a partition: each record has one row, and no row is without a record.

An exact copy of a row is no fault: merges and views take it for one. A second row of the same place that is no copy is.
"""

from typing import Any, Final

from aiokafka import TopicPartition

from services.operator.readers.log import records
from services.operator.verify.folding import RANGE, PartitionFold, Range, read
from services.operator.verify.model import Comparison, Fault, Kind

_OFFSETS_A_QUERY: Final = 50 * RANGE
_SPAN: Final = (
    "WHERE topic_id = {topic_id:String} AND `partition` = {partition:UInt32} "
    "AND `offset` >= {first:UInt64} AND `offset` < {upto:UInt64}"
)
# What `folding.Range` adds up, of rows that are not mere copies of each other.
RANGES: Final = f"""
SELECT intDiv(`offset`, {{range:UInt64}}) AS at, count() AS records, lower(hex(sum(digest))) AS digest
FROM (
    SELECT DISTINCT `offset`, (toUInt128(event_id) + halfMD5(user_id)) * (`offset` + 1) + received_ms AS digest, user_id
    FROM animusic.feedback {_SPAN}
)
GROUP BY at
"""
_ROWS: Final = (
    f"SELECT DISTINCT `offset`, toString(event_id) AS event_id, user_id, received_ms FROM animusic.feedback {_SPAN} "
    "ORDER BY `offset`, received_ms, event_id, user_id"
)
# Event id, user id, time of receipt (ms).
Row = tuple[str, str, int]


async def check_rows(
    run: Comparison, topic_id: str, tp: TopicPartition, span: tuple[int, int], expected: PartitionFold
) -> None:
    """Compare one partition: sums of ranges of offsets; where two differ, row by row."""
    run.report.rows += sum(part.records for part in expected.ranges.values())
    asked = {"topic_id": topic_id, "partition": tp.partition}
    for start in range(span[0] // RANGE * RANGE, span[1], _OFFSETS_A_QUERY):
        first, upto = max(span[0], start), min(span[1], start + _OFFSETS_A_QUERY)
        summed = await run.warehouse.arrow(RANGES, **asked, first=first, upto=upto, range=RANGE)
        found = {row["at"]: Range(row["records"], int(row["digest"] or "0", 16)) for row in summed}
        ours = {at: part for at, part in expected.ranges.items() if start <= at * RANGE < upto}
        for at in sorted(found.keys() | ours.keys()):
            if found.get(at, Range()) != ours.get(at, Range()):
                await _compare(run, asked, tp, max(first, at * RANGE), min(upto, (at + 1) * RANGE))


async def _compare(run: Comparison, asked: dict[str, Any], tp: TopicPartition, first: int, upto: int) -> None:
    wanted: dict[int, Row] = {}
    async for record in records(run.kafka, {tp: (first, upto)}):
        event = read(record)
        if event is not None and "warehouse" not in run.refused_by(record):
            wanted[record.offset] = (str(event.event_id), event.user_id, event.received_at)
    rows: dict[int, list[Row]] = {}
    for row in await run.warehouse.arrow(_ROWS, **asked, first=first, upto=upto):
        rows.setdefault(row["offset"], []).append((row["event_id"], row["user_id"], row["received_ms"]))
    for offset in sorted(wanted.keys() | rows.keys()):
        _compare_place(run, f"{tp.topic}/{tp.partition}@{offset}", wanted.get(offset), rows.get(offset, []))


def _compare_place(run: Comparison, place: str, expected: Row | None, rows: list[Row]) -> None:
    def add(kind: Kind, row: Row, held: str) -> None:
        run.report.add(Fault("clickhouse", kind, row[1], f"event {row[0]}", _described(expected), held, (place,)))

    if expected is not None and expected not in rows:
        add("row missing", expected, "nothing")
    for row in rows:
        if row != expected:
            add("row doubled" if expected in rows else "extra row", row, _described(row))


def _described(row: Row | None) -> str:
    return "no such record" if row is None else f"event {row[0]} of {row[1]}, received at {row[2]}"
