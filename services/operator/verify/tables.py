"""ClickHouse's tables against the log: rows of `feedback`, outcomes of slots, and the catalogue.

Each record has one row, and each row has a record. An exact copy of a row is no fault: merges and views drop it. A
second row of the same place that is no copy is one.

Outcomes follow from the rows, so ClickHouse computes them again with the statement that fills the table. The catalogue
is compared with the last record of each song in the log; a song that a tombstone removed from the log may stay.

Events and imports may go on meanwhile: what differs is read again, and is a fault when it stays as it was.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka import TopicPartition

from contracts.catalogue import Song
from contracts.topics import CATALOGUE
from services.operator.readers.log import offsets, records
from services.operator.readers.redis import batched
from services.operator.verify.folding import RANGE, PartitionFold, Range, read
from services.operator.verify.model import ROUNDS, CannotCompare, Comparison, Fault, Kind
from services.operator.verify.registers import USERS_A_QUERY
from services.warehouse import rows
from services.warehouse.migrations import migrations
from services.warehouse.rows import Place
from services.warehouse.sink import read_value

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
_ROWS_OF_RANGE: Final = (
    f"SELECT DISTINCT `offset`, toString(event_id) AS event_id, user_id, received_ms FROM animusic.feedback {_SPAN} "
    "ORDER BY `offset`, received_ms, event_id, user_id"
)
# Event id, user id, time of receipt (ms).
EventRow = tuple[str, str, int]


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
                await _compare_range(run, asked, tp, max(first, at * RANGE), min(upto, (at + 1) * RANGE))


async def _compare_range(run: Comparison, asked: dict[str, Any], tp: TopicPartition, first: int, upto: int) -> None:
    wanted: dict[int, EventRow] = {}
    async for record in records(run.kafka, {tp: (first, upto)}):
        event = read(record)
        if event is not None and "warehouse" not in run.refused_by(record):
            wanted[record.offset] = (str(event.event_id), event.user_id, event.received_at)
    rows: dict[int, list[EventRow]] = {}
    for row in await run.warehouse.arrow(_ROWS_OF_RANGE, **asked, first=first, upto=upto):
        rows.setdefault(row["offset"], []).append((row["event_id"], row["user_id"], row["received_ms"]))
    for offset in sorted(wanted.keys() | rows.keys()):
        _compare_place(run, f"{tp.topic}/{tp.partition}@{offset}", wanted.get(offset), rows.get(offset, []))


def _compare_place(run: Comparison, place: str, expected: EventRow | None, rows: list[EventRow]) -> None:
    def add(kind: Kind, row: EventRow, held: str) -> None:
        run.report.add(Fault("clickhouse", kind, row[1], f"event {row[0]}", _described_event(expected), held, (place,)))

    if expected is not None and expected not in rows:
        add("row missing", expected, "nothing")
    for row in rows:
        if row != expected:
            add("row doubled" if expected in rows else "extra row", row, _described_event(row))


def _described_event(row: EventRow | None) -> str:
    return "no such record" if row is None else f"event {row[0]} of {row[1]}, received at {row[2]}"


_OUTCOME_ROUNDS: Final = 6
_OUTCOME_SECONDS: Final = 0.5
_VIEW: Final = "CREATE MATERIALIZED VIEW IF NOT EXISTS animusic.slot_outcomes_of_feedback TO animusic.slot_outcomes AS"
_COLUMNS: Final = (
    "user_id, toString(playlist_id) AS playlist, slot, song_id, toString(arm) AS arm, "
    "toString(attribution) AS attribution, shown, started, ended, skipped, "
    "tupleElement(watched, 1) AS ppm, tupleElement(watched, 2) AS watch_ms, tupleElement(watched, 3) AS duration_ms, "
    "tupleElement(liked, 1) AS occurred_ms, hex(tupleElement(liked, 2)) AS event, tupleElement(liked, 3) AS liking"
)
_KEY: Final = ("user_id", "playlist", "slot", "song_id", "arm", "attribution")
# Of each outcome that differs: what the rows say, and what the table holds; None where it is not there.
Differences = dict[tuple[Any, ...], tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]]


async def check_outcomes(run: Comparison, users: Collection[str]) -> None:
    """Compare every outcome of these users."""
    statement, done = _statement(), 0
    for some in batched(sorted(users), USERS_A_QUERY):
        run.tell("listeners' outcomes", done, len(users))
        await _check_users(run, statement, some)
        done += len(some)


async def _check_users(run: Comparison, statement: str, users: Sequence[str]) -> None:
    before: Differences = {}
    for _ in range(_OUTCOME_ROUNDS):
        found: Differences = {}
        for row in await run.warehouse.arrow(statement, users=list(users)):
            key = tuple(row[name] for name in _KEY)
            expected, held = found.get(key, (None, None))
            found[key] = (row, held) if row["side"] == "rows" else (expected, row)
        if not found or found == before:
            break
        before, users = found, sorted({key[0] for key in found})
        await asyncio.sleep(_OUTCOME_SECONDS)
    else:
        run.report.unsettle(users)
        return
    for key, sides in sorted(found.items()):
        user, playlist, slot, song, arm, attribution = key
        where = f"playlist {playlist} slot {slot}: {song} by {arm} ({attribution})"
        log, store = map(_described_outcome, sides)
        run.report.add(Fault("clickhouse", "outcome differs", user, where, log, store))


def _statement() -> str:
    """Of some users: outcomes that only the rows give, and outcomes that only the table holds."""
    (made,) = (
        statement.removeprefix(_VIEW)
        for migration in migrations()
        for statement in migration.statements()
        if statement.startswith(_VIEW)
    )
    expected = f"SELECT {_COLUMNS} FROM ({made}) WHERE user_id IN {{users:Array(String)}}"
    held = f"SELECT {_COLUMNS} FROM animusic.slot_outcomes FINAL WHERE user_id IN {{users:Array(String)}}"
    return (
        f"SELECT 'rows' AS side, * FROM ({expected} EXCEPT {held}) "
        f"UNION ALL SELECT 'table' AS side, * FROM ({held} EXCEPT {expected})"
    )


def _described_outcome(outcome: Mapping[str, Any] | None) -> str:
    """An outcome in words; "nothing" where there is none."""
    if outcome is None:
        return "nothing"
    flags = [name for name in ("shown", "started", "ended", "skipped") if outcome[name]]
    watched = [f"watched {outcome['watch_ms'] / 1000:g} of {outcome['duration_ms'] / 1000:g} s"]
    liked = [f"{'liked' if outcome['liking'] else 'un-liked'} at {outcome['occurred_ms']}"]
    return ", ".join(flags + watched * bool(outcome["duration_ms"]) + liked * bool(outcome["occurred_ms"])) or "no more"


_SONGS: Final = "SELECT * FROM animusic.songs"
_PLACE_COLUMNS: Final = frozenset({"logged_ms", "topic_id", "partition", "offset"})
SongRow = dict[str, Any]


async def check_catalogue(run: Comparison) -> None:
    """Compare every song. Raises CannotCompare while an import goes on."""
    before: object = None
    for _ in range(ROUNDS):
        expected, places = await _songs_in_log(run)
        held = {row["song_id"]: _compared_columns(row) for row in await run.warehouse.arrow(_SONGS)}
        wrong = {song_id: held.get(song_id) for song_id, row in expected.items() if held.get(song_id) != row}
        if wrong and (wrong, places) != before:
            before = wrong, places
            continue
        for song_id, row in sorted(wrong.items()):
            run.report.add(_song_fault(song_id, expected[song_id], row, places[song_id]))
        return
    raise CannotCompare("the catalogue kept changing; try again when no import runs")


async def _songs_in_log(run: Comparison) -> tuple[dict[str, SongRow], dict[str, str]]:
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
    expected = [_compared_columns(row) for row in rows.catalogue(list(last.values())).to_pylist()]
    run.report.songs = sum(isinstance(value, Song) for _, value in last.values())
    places = {value.song_id: f"{CATALOGUE.name}/{at.partition}@{at.offset}" for at, value in last.values()}
    return {row["song_id"]: row for row in expected}, places


def _song_fault(song_id: str, expected: SongRow, held: SongRow | None, place: str) -> Fault:
    what = f"song {song_id}"
    if held is None:
        return Fault("clickhouse", "song missing", "", what, _described_song(expected, ["title"]), "nothing", (place,))
    columns = [name for name in expected if expected[name] != held.get(name)]
    values = _described_song(expected, columns), _described_song(held, columns)
    return Fault("clickhouse", "song differs", "", what, *values, (place,))


def _compared_columns(row: Mapping[str, Any]) -> SongRow:
    """A row without where it lies, and without numbers that an older version let in."""
    kept = {name: value for name, value in row.items() if name not in _PLACE_COLUMNS}
    return kept | {name: range_.kept(kept[name]) for name, range_ in rows.CATALOGUE_RANGES.items()}


def _described_song(row: SongRow, columns: Iterable[str]) -> str:
    return ", ".join(f"{name} {row.get(name)}" for name in columns)
