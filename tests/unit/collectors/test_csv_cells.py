"""Cells of the CSV, one by one."""

import pytest

from collectors import csv_cells as cells


@pytest.mark.parametrize("cell", ["", " ", "nan", None])
def test_an_empty_cell_is_no_number(cell: str | None) -> None:
    assert cells.count(cell) is cells.whole(cell) is cells.decimal(cell) is None


def test_a_score_has_a_decimal_point_or_comma() -> None:
    assert [cells.decimal(cell) for cell in ("7.5", " 7,5 ", "7", "-3.5")] == [7.5, 7.5, 7.0, -3.5]
    for cell in ("7,5.1", "1e3", "inf", "7 5", "٧"):
        with pytest.raises(ValueError, match="not a number"):
            cells.decimal(cell)


def test_ids_survive_a_table_tool() -> None:
    assert [cells.whole(cell) for cell in ("5114.0", "5114,0", " 5114 ")] == [5114] * 3
    for cell in ("51.5", "5.114", "5,114", "12.000", "-1", "9" * 50):
        with pytest.raises(ValueError, match="whole number"):
            cells.whole(cell)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("", ()),
        ("One", ("One",)),
        ("One, Two ,One", ("One", "Two")),
        ("Duo（First、Second）, Third", ("Duo（First、Second）", "Third")),
        ("A (CV: B, C); D、E", ("A (CV: B, C)", "D", "E")),
        ("open (never closed, so one name", ("open (never closed, so one name",)),
    ],
)
def test_names(cell: str, expected: tuple[str, ...]) -> None:
    assert cells.names(cell) == expected


@pytest.mark.parametrize(
    ("url", "song", "followed"),
    [
        ("/song/123", 123, "https://anidb.net/song/123"),
        ("https://anidb.net/song/77", 77, "https://anidb.net/song/77"),
        ("https://elsewhere.example/video/song-1.webm", None, "https://elsewhere.example/video/song-1.webm"),
        ("/song/" + "9" * 5_000, None, "https://anidb.net/song/" + "9" * 5_000),
        ("", None, None),
    ],
)
def test_song_urls(url: str, song: int | None, followed: str | None) -> None:
    assert (cells.anidb_song(url), cells.source_url(url)) == (song, followed)


def test_a_placeholder_is_told_from_a_video_by_the_empty_uri() -> None:
    real, uri = "abcDEF_-123", "https://www.youtube.com/watch?v=abcDEF_-123"
    assert cells.youtube_id(real, uri, has_uri_column=True) == real
    assert cells.youtube_id(real, "", has_uri_column=True) is None
    assert cells.youtube_id(real, None, has_uri_column=False) == real
    assert cells.youtube_id("", uri, has_uri_column=True) == real
    assert cells.youtube_id("", "", has_uri_column=False) is None
    with pytest.raises(ValueError, match="11 characters"):
        cells.youtube_id("too-short", None, has_uri_column=False)
