"""Cells of the CSV, one by one."""

import pytest

from collectors import csv_cells as cells


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("938,066", 938_066), ("9.7K", 9_700), ("1.2M", 1_200_000), ("3b", 3_000_000_000), ("17", 17), ("0", 0),
        (" 1 544 080 ", 1_544_080), ("1\u00a0000", 1_000), ("", None), ("nan", None), (None, None), ("1,234.0", 1_234),
    ],
)  # fmt: skip
def test_counts(cell: str | None, expected: int | None) -> None:
    assert cells.count(cell) == expected


@pytest.mark.parametrize("cell", ["many", "-5", "9.7X", "1e6", "K"])
def test_counts_that_are_none(cell: str) -> None:
    with pytest.raises(ValueError, match="not a count"):
        cells.count(cell)


def test_ids_survive_a_table_tool() -> None:
    assert cells.whole("5114.0") == 5114 and cells.whole(" 5114 ") == 5114 and cells.whole("") is None
    with pytest.raises(ValueError, match="whole number"):
        cells.whole("51.5")


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
