"""The catalogue: what ClickHouse says of each song, against the last record of it in the log.

Only songs that the log has are compared: one that was removed from the log by a tombstone may stay in ClickHouse.
Imports may go on meanwhile: what differs is read again, and is a fault once the log has nothing newer.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from contracts.catalogue import Song
from contracts.topics import CATALOGUE
from services.operator.readers.log import offsets, records
from services.operator.verify.model import ROUNDS, CannotCompare, Comparison, Fault
from services.warehouse import rows
from services.warehouse.rows import Place
from services.warehouse.sink import read_value

_SONGS: Final = "SELECT * FROM animusic.songs"
_PLACE: Final = frozenset({"logged_ms", "topic_id", "partition", "offset"})
Row = dict[str, Any]


async def check_catalogue(run: Comparison) -> None:
    """Compare every song. Raises CannotCompare while an import goes on."""
    before: object = None
    for _ in range(ROUNDS):
        expected, places = await _expected(run)
        held = {row["song_id"]: _within(row) for row in await run.warehouse.arrow(_SONGS)}
        wrong = {song_id: held.get(song_id) for song_id, row in expected.items() if held.get(song_id) != row}
        if wrong and (wrong, places) != before:
            before = wrong, places
            continue
        for song_id, row in sorted(wrong.items()):
            run.report.add(_fault(song_id, expected[song_id], row, places[song_id]))
        return
    raise CannotCompare("the catalogue kept changing; try again when no import runs")


async def _expected(run: Comparison) -> tuple[dict[str, Row], dict[str, str]]:
    """The last record of each song as its row, and where it lies; ClickHouse has come as far."""
    last: dict[str, tuple[Place, Any]] = {}
    log = await offsets(run.kafka, [CATALOGUE.name])
    async for record in records(run.kafka, log.spans(CATALOGUE.name)):
        key, value = (record.key or b"").decode("utf-8", "replace"), read_value(CATALOGUE.name, record.value)
        if value is None:
            last.pop(key, None)
        elif isinstance(value, rows.CATALOGUE_RECORDS):
            last[key] = Place("", record.partition, record.offset, record.timestamp), value
    await run.reached(log, "clickhouse")
    expected = [_within(row) for row in rows.catalogue(list(last.values())).to_pylist()]
    run.report.songs = sum(isinstance(value, Song) for _, value in last.values())
    places = {value.song_id: f"{CATALOGUE.name}/{at.partition}@{at.offset}" for at, value in last.values()}
    return {row["song_id"]: row for row in expected}, places


def _fault(song_id: str, expected: Row, held: Row | None, place: str) -> Fault:
    what = f"song {song_id}"
    if held is None:
        return Fault("clickhouse", "song missing", "", what, _described(expected, ["title"]), "nothing", (place,))
    columns = [name for name in expected if expected[name] != held.get(name)]
    values = _described(expected, columns), _described(held, columns)
    return Fault("clickhouse", "song differs", "", what, *values, (place,))


def _within(row: Mapping[str, Any]) -> Row:
    """A row without where it lies, and without numbers that an older version let in."""
    kept = {name: value for name, value in row.items() if name not in _PLACE}
    return kept | {name: range_.kept(kept[name]) for name, range_ in rows.CATALOGUE_RANGES.items()}


def _described(row: Row, columns: Iterable[str]) -> str:
    return ", ".join(f"{name} {row.get(name)}" for name in columns)
