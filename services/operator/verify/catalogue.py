"""The catalogue: what ClickHouse says of each song, against the last record of it in the log.

Only songs that the log tells of are compared: one that was removed from the log by a tombstone may stay in ClickHouse.
Imports may go on meanwhile: what differs is read again, and is a fault once the log has told nothing more.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from contracts.catalogue import Song
from contracts.marks import MarkName
from contracts.topics import CATALOGUE
from services.common.kafka import read_to_end, topic_ids
from services.common.settings import KafkaSettings
from services.operator.verify.clickhouse import Warehouse
from services.operator.verify.log import edges
from services.operator.verify.model import CannotCompare, Fault, Report
from services.warehouse import rows
from services.warehouse.rows import Place
from services.warehouse.sink import read_value

_ROUNDS: Final = 8
_SONGS: Final = "SELECT * FROM animusic.songs"
_PLACE: Final = frozenset({"logged_ms", "topic_id", "partition", "offset"})
Row = dict[str, Any]


class CatalogueCheck:
    """Compares. `await run()` may raise CannotCompare, and what the clients of log and ClickHouse raise."""

    def __init__(self, kafka: KafkaSettings, warehouse: Warehouse, report: Report, *, reach_seconds: float) -> None:
        self._kafka = kafka
        self._warehouse = warehouse
        self._report = report
        self._reach_seconds = reach_seconds

    async def run(self) -> None:
        """Compare every song."""
        before: object = None
        for _ in range(_ROUNDS):
            told, places = await self._told()
            held = {row["song_id"]: _within(row) for row in await self._warehouse.ask(_SONGS)}
            differing = {song_id: held.get(song_id) for song_id, row in told.items() if held.get(song_id) != row}
            if not differing or (differing, places) == before:
                self._note(told, differing, places)
                return
            before = differing, places
        raise CannotCompare("the catalogue did not stand still; try again when no import runs")

    async def _told(self) -> tuple[dict[str, Row], dict[str, str]]:
        """The last record of each song as its row, and where it lies; ClickHouse has come as far."""
        last: dict[str, tuple[Place, Any]] = {}
        ids = await topic_ids(self._kafka.bootstrap_servers, [CATALOGUE.name])
        async for batch in read_to_end(self._kafka, CATALOGUE.name):
            for record in batch:
                key = (record.key or b"").decode("utf-8", "replace")
                value = read_value(CATALOGUE.name, record.value)
                if value is None:
                    last.pop(key, None)
                elif isinstance(value, rows.CATALOGUE_RECORDS):
                    last[key] = Place("", record.partition, record.offset, record.timestamp), value
        await self._reached(ids[CATALOGUE.name])
        told = [_within(row) for row in rows.catalogue(list(last.values())).to_pylist()]
        places = {value.song_id: f"{CATALOGUE.name}/{at.partition}@{at.offset}" for at, value in last.values()}
        self._report.songs = sum(isinstance(value, Song) for _, value in last.values())
        return {row["song_id"]: row for row in told}, places

    async def _reached(self, topic_id: str) -> None:
        spans = await edges(self._kafka, [CATALOGUE.name])
        wanted = {MarkName(topic_id, tp.partition): end for tp, (_, end) in spans.items()}
        deadline = time.monotonic() + self._reach_seconds
        while True:
            marks = await self._warehouse.marks()
            if all(marks.get(name, 0) >= end for name, end in wanted.items()):
                return
            if time.monotonic() > deadline:
                raise CannotCompare("ClickHouse does not come to the log's end; `animusic status` says how far it is")
            await asyncio.sleep(0.1)

    def _note(self, told: Mapping[str, Row], differing: Mapping[str, Row | None], places: Mapping[str, str]) -> None:
        for song_id, held in sorted(differing.items()):
            row, where = told[song_id], (places[song_id],)
            what = f"song {song_id}"
            if held is None:
                self._report.add(Fault("clickhouse", "song missing", "", what, _said(row, ["title"]), "nothing", where))
                continue
            columns = [name for name in row if row[name] != held.get(name)]
            values = _said(row, columns), _said(held, columns)
            self._report.add(Fault("clickhouse", "song differs", "", what, *values, where))


def _within(row: Mapping[str, Any]) -> Row:
    """A row without where it lies, and without numbers that an older version let in."""
    kept = {name: value for name, value in row.items() if name not in _PLACE}
    return kept | {name: range_.kept(kept[name]) for name, range_ in rows.CATALOGUE_RANGES.items()}


def _said(row: Mapping[str, Any], columns: list[str]) -> str:
    return ", ".join(f"{name} {row.get(name)}" for name in columns)
