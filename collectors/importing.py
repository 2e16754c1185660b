"""Songs → the catalogue topic. Only what is new or changed is written: a second import of a file writes nothing."""

import asyncio
import csv
from collections.abc import Callable, Collection, Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from collectors.doubts import doubtful
from collectors.entries import Problem
from collectors.identity import Former, settled
from contracts.catalogue import Song, WithdrawnSong, catalogue_digest
from contracts.topics import CATALOGUE
from services.common.kafka import producer
from services.common.kafka.catalogue_log import CatalogueLog
from services.common.settings import KafkaSettings

_IN_FLIGHT: Final = 2_000


@dataclass(frozen=True)
class Plan:
    """What an import would write.

    Attributes:
        records: (song id, record value), new and changed songs, then withdrawals: of songs that were merged and, if
            asked for, of missing ones.
        merged: ids of known songs that turned out to be another, which has them as aliases now.
        digest: of the catalogue once the records are written, 32 hex digits.
        missing: ids of the songs that are withdrawn. `spared`: how many more would be, and stay.
        doubtful: pairs with a new or changed song that may be one song, and stay apart.
    """

    records: list[tuple[str, bytes]]
    new: int
    changed: int
    unchanged: int
    withdrawn: int
    digest: str
    missing: tuple[str, ...] = ()
    spared: int = 0
    merged: tuple[str, ...] = ()
    doubtful: int = 0


def planned(
    songs: Iterable[Song], log: CatalogueLog, *, withdraw_missing: bool = False, spared: Set[str] = frozenset()
) -> Plan:
    """Compare songs with the log. Song ids must be unique; a song that the log knows keeps the id that it has there.

    `spared` are withdrawn by no means: see `withdrawing`.
    """
    kept = settled(list(songs), log.songs, Former(log.merged, log.former))
    wanted = {song.song_id: song.log_value() for song in kept.songs}
    records = [(song_id, value) for song_id, value in wanted.items() if log.values.get(song_id) != value]
    new = sum(song_id not in log.values for song_id, _ in records)
    unnamed = log.values.keys() - wanted.keys() - kept.merged.keys() if withdraw_missing else frozenset()
    missing = sorted(unnamed - spared)
    gone = {**dict.fromkeys(missing), **kept.merged}
    after = {song_id: value for song_id, value in log.values.items() if song_id not in gone} | wanted
    return Plan(
        records=records
        + [(song_id, withdrawal(song_id, into, log.songs[song_id])) for song_id, into in sorted(gone.items())],
        new=new,
        changed=len(records) - new,
        unchanged=len(wanted) - len(records),
        withdrawn=len(missing),
        digest=catalogue_digest(after),
        missing=tuple(missing),
        spared=len(unnamed & spared),
        merged=tuple(sorted(kept.merged)),
        doubtful=_doubtful(kept.songs, log, gone, {song_id for song_id, _ in records}),
    )


def _doubtful(songs: Iterable[Song], log: CatalogueLog, gone: Collection[str], written: Collection[str]) -> int:
    after = {each: song for each, song in log.songs.items() if each not in gone} | {s.song_id: s for s in songs}
    return len(doubtful(after.values(), written)) if log.songs else 0


def withdrawal(song_id: str, merged_into: str | None, song: Song) -> bytes:
    """The record of a song that is served no more."""
    anidb = {f"anidb-{song.anidb}"} if song.anidb else set()
    aliases = () if merged_into else tuple(sorted({*song.aliases, *anidb} - {song_id}))
    record = WithdrawnSong(song_id=song_id, withdrawn=True, merged_into=merged_into, aliases=aliases)
    return record.model_dump_json(by_alias=True, exclude_none=True).encode()


async def write(
    settings: KafkaSettings, records: Sequence[tuple[str, bytes]], advance: Callable[[int], None] = lambda count: None
) -> None:
    """Append the records and return once the broker has acknowledged each. `advance` gets how many more are written.

    Raises aiokafka's KafkaError when the log does not take them; what was written before stays, and the next import
    goes on from there.
    """
    if not records:
        return
    client = producer(settings)
    await client.start()
    try:
        for start in range(0, len(records), _IN_FLIGHT):
            await _write_some(client, records[start : start + _IN_FLIGHT])
            advance(len(records[start : start + _IN_FLIGHT]))
    finally:
        await client.stop()


async def _write_some(client: AIOKafkaProducer, records: Sequence[tuple[str, bytes]]) -> None:
    sent: list[Any] = [await client.send(CATALOGUE.name, value, key=song_id.encode()) for song_id, value in records]
    await asyncio.gather(*sent)


def write_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Write what could not be taken as a CSV: line, what was rejected (row or cell), reason, song, anime."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["line", "rejected", "reason", "song", "anime"])
        for problem in problems:
            rejected = "row" if problem.whole_row else "cell"
            table.writerow([problem.line, rejected, problem.reason, problem.title, problem.anime])
