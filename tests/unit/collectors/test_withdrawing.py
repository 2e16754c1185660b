"""What an import may withdraw: nothing by a part of a file, and no song whose row could not be read."""

from pathlib import Path

import pytest

from collectors.importing import planned
from collectors.sources import Found, read, source_named
from collectors.withdrawing import Withdrawal, that_may_be_rejected, withdrawal
from contracts.catalogue import Song
from services.common.kafka.catalogue_log import CatalogueLog

HEADER = "relation,song,anime,MAL_ID,vocals\n"


def lines(first: int, last: int) -> str:
    return "".join(f"opening,Song {n:03d}!,Anime {n:03d},{900 + n},Singer {n}\n" for n in range(first, last))


def found_in(path: Path, text: str) -> Found:
    path.write_text(text, encoding="utf-8")
    return read(source_named(str(path)))


@pytest.fixture
def log(tmp_path: Path) -> CatalogueLog:
    """A log of forty songs."""
    songs = found_in(tmp_path / "all.csv", HEADER + lines(0, 40)).songs
    log = CatalogueLog()
    log.apply([(song.song_id.encode(), song.log_value()) for song in songs])
    return log


def asked_for(found: Found, log: CatalogueLog) -> Withdrawal:
    spared = that_may_be_rejected(found.problems, log.songs.values())
    return withdrawal(found, log.songs, planned(found.songs, log, withdraw_missing=True, spared=spared).missing, 0)


def titles(songs: tuple[Song, ...]) -> list[str]:
    return [song.title for song in songs]


def test_what_a_whole_file_does_not_have_may_go(tmp_path: Path, log: CatalogueLog) -> None:
    asked = asked_for(found_in(tmp_path / "a.csv", HEADER + lines(4, 40)), log)
    assert (titles(asked.songs), asked.refusal, asked.share) == ([f"Song 00{n}!" for n in range(4)], None, 0.1)
    assert asked.described().startswith(
        "the source does not have 4 of 40 songs (10.0%): Song 000! (Anime 000), Song 001! ("
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (HEADER, "no row that could be read"),
        (HEADER + "opening,,,,\n", "no row that could be read"),
        (HEADER + lines(0, 20) + 'opening,"Song 020!,Anime 020', "not read to its end (line 22)"),
        (HEADER + lines(0, 20) + "opening,Song 020", "not read to its end (line 22)"),
        (HEADER + lines(0, 20) + 'opening,"Song\n020!,Anime\n', "not read to its end (lines 22 to 23)"),
    ],
)
def test_nothing_goes_by_an_empty_file_or_a_part_of_one(tmp_path: Path, log: CatalogueLog, text: str, why: str) -> None:
    found = found_in(tmp_path / "a.csv", text)
    assert why in str(asked_for(found, log).refusal)
    assert found.complaint() is not None or text == HEADER


@pytest.mark.parametrize(
    "row",
    [
        'opening,"Song 007!,Anime 007,907,Singer 7\n',  # a quote too many
        "opening,Song 007!,Anime 007,907,Singer 7,surplus\n",
        "opening,,Anime 007,907,Singer 7\n",
        "opening,Song 007!,,907,Singer 7\n",
        "opening,Song\ufffd,ＡＮＩＭＥ　007,907,Singer 7\n",
    ],
)
def test_a_song_whose_row_cannot_be_read_is_not_missing(tmp_path: Path, log: CatalogueLog, row: str) -> None:
    found = found_in(tmp_path / "a.csv", HEADER + lines(0, 7) + row + lines(9, 40))
    asked = asked_for(found, log)
    assert found.rejected == asked.rejected == 1 and not found.unread
    assert (titles(asked.songs), asked.refusal) == (["Song 008!"], None)
    assert asked.share == 2 / 40 and "1 of its rows could not be read" in asked.described()


def test_many_rows_that_cannot_be_read_count_as_much_as_missing_songs(tmp_path: Path, log: CatalogueLog) -> None:
    found = found_in(tmp_path / "a.csv", HEADER + lines(1, 36) + "opening,,,,\n" * 4)
    asked = asked_for(found, log)
    assert len(asked.songs) == 5 and asked.share == 9 / 40


def test_without_rejected_rows_or_without_songs_nothing_is_spared(log: CatalogueLog) -> None:
    assert that_may_be_rejected([], log.songs.values()) == frozenset()
    assert asked_for(Found([], 0, 0, []), CatalogueLog()).share == 0.0
