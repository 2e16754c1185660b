"""What an import would write, given what the log holds."""

import csv
from pathlib import Path

import pytest

from collectors.entries import Problem
from collectors.importing import planned, write_problems
from collectors.sources import SAMPLE, read, source_named
from collectors.synthetic import synthetic_songs
from contracts.catalogue import catalogue_digest
from services.common.kafka.catalogue_log import CatalogueLog


def log_of(records: list[tuple[str, bytes]]) -> CatalogueLog:
    log = CatalogueLog()
    log.apply([(song_id.encode(), value) for song_id, value in records])
    return log


def test_a_second_import_writes_nothing_and_has_the_same_digest() -> None:
    songs = synthetic_songs(60)
    first = planned(songs, CatalogueLog())
    log = log_of(first.records)
    again = planned(songs, log)
    assert (first.new, first.changed, first.unchanged) == (60, 0, 0)
    assert (again.new, again.changed, again.unchanged, again.records) == (0, 0, 60, [])
    assert first.digest == again.digest == log.digest()


def test_changed_songs_and_missing_songs() -> None:
    songs = synthetic_songs(60)
    log = log_of(planned(songs, CatalogueLog()).records)
    fewer = [songs[0].model_copy(update={"rating": 9.0}), *songs[1:50]]
    kept = planned(fewer, log)
    assert (kept.new, kept.changed, kept.unchanged, kept.withdrawn) == (0, 1, 49, 0)
    plan = planned(fewer, log, withdraw_missing=True)
    assert (plan.changed, plan.withdrawn) == (1, 10)
    log.apply([(song_id.encode(), value) for song_id, value in plan.records])
    assert len(log.songs) == 50 and len(log.withdrawn) == 10 and log.digest() == plan.digest
    back = planned(songs, log)
    assert (back.new, back.changed) == (10, 1)


def test_a_tombstone_and_an_unreadable_record() -> None:
    songs = synthetic_songs(50)
    log = log_of(planned(songs, CatalogueLog()).records)
    log.apply([(songs[0].song_id.encode(), None), (songs[1].song_id.encode(), b"{not json"), (None, b"{}")])
    assert len(log.songs) == 49 and log.withdrawn == {songs[0].song_id} and log.unreadable == 1


def test_the_digest_hears_every_byte_and_no_order() -> None:
    values = {"a": b"1", "b": b"2"}
    assert catalogue_digest(values) == catalogue_digest(dict(reversed(values.items())))
    others = [{"a": b"1"}, {"a": b"1", "b": b"3"}, {"a": b"1", "c": b"2"}, {"a": b"1b", "b": b"2"}, {}]
    assert len({catalogue_digest(other) for other in [values, *others]}) == 6


def test_the_sample_is_a_source_and_an_unknown_file_is_named() -> None:
    found = read(source_named("sample"))
    assert found.rows > 250 and found.rejected == 0 and len(found.songs) + found.merged_rows == found.rows
    assert SAMPLE.is_file()
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        source_named("nowhere.csv")


def test_problems_are_listed_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rejected.csv"
    write_problems(path, [Problem(7, "no song title", "", "Anime, the"), Problem(8, "bad", "S", "A", whole_row=False)])
    rows = list(csv.DictReader(path.open(encoding="utf-8", newline="")))
    assert rows[0] == {"line": "7", "rejected": "row", "reason": "no song title", "song": "", "anime": "Anime, the"}
    assert rows[1]["rejected"] == "cell"
