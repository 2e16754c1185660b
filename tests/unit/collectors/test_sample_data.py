"""The sample catalogue as a file: its shape, and that nothing in it is made up."""

import csv
import unicodedata
from collections import Counter, defaultdict

import pytest

from collectors.sample.check import SAMPLE
from contracts.catalogue import normalised

PUBLIC_COLUMNS = [
    "relation",
    "song",
    "song_url",
    "episodes",
    "rating",
    "vocals",
    "lyrics",
    "composition",
    "arrangement",
    "chorus",
    "tags",
    "anime",
    "MAL_ID",
    "MAL_Title",
    "MAL_Title_JP",
    "MAL_Title_EN",
    "MAL_Score",
    "MAL_Rank",
    "MAL_Popularity",
    "MAL_Status",
    "MAL_Genres",
    "MAL_Studios",
    "MAL_Source",
    "MAL_Start_Date",
    "AniDB_Link",
    "AniDB_ID",
    "full_youtube_uri",
    "youtube_views",
    "youtube_likes",
    "youtube_video_id",
]
NEVER_FILLED = [
    "song_url",
    "rating",
    "MAL_Score",
    "MAL_Rank",
    "MAL_Popularity",
    "AniDB_Link",
    "AniDB_ID",
    "full_youtube_uri",
    "youtube_views",
    "youtube_likes",
    "youtube_video_id",
]
ALWAYS_FILLED = [
    "relation",
    "song",
    "anime",
    "tags",
    "MAL_ID",
    "MAL_Title",
    "MAL_Title_JP",
    "MAL_Title_EN",
    "MAL_Status",
    "MAL_Genres",
    "MAL_Studios",
    "MAL_Source",
    "MAL_Start_Date",
]

Row = dict[str, str]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    with SAMPLE.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_file_is_utf8_with_line_feeds_and_even_rows() -> None:
    raw = SAMPLE.read_bytes()
    assert b"\r" not in raw
    assert raw.endswith(b"\n")
    assert not raw.startswith(b"\xef\xbb\xbf")
    widths = {len(row) for row in csv.reader(raw.decode("utf-8").splitlines())}
    assert len(widths) == 1


def test_has_the_public_columns(rows: list[Row]) -> None:
    assert set(PUBLIC_COLUMNS) <= set(rows[0])


def test_about_300_songs_of_about_100_anime(rows: list[Row]) -> None:
    assert 280 <= len(rows) <= 330
    anime = {row["MAL_ID"] for row in rows}
    assert len(anime) >= 95
    assert {"5114", "9253", "16498"} <= anime


@pytest.mark.parametrize("column", NEVER_FILLED)
def test_no_value_that_would_have_to_be_invented(rows: list[Row], column: str) -> None:
    assert [row["song"] for row in rows if row[column]] == []


@pytest.mark.parametrize("column", ALWAYS_FILLED)
def test_facts_are_in_every_row(rows: list[Row], column: str) -> None:
    assert [row["song"] for row in rows if not row[column].strip()] == []


def test_cells_are_tidy(rows: list[Row]) -> None:
    for row in rows:
        for cell in row.values():
            assert cell == cell.strip() == unicodedata.normalize("NFC", cell)


def test_no_use_of_a_song_twice(rows: list[Row]) -> None:
    uses = Counter((row["MAL_ID"], row["relation"], normalised(row["song"])) for row in rows)
    assert [use for use, times in uses.items() if times > 1] == []


def test_values_are_of_their_kind(rows: list[Row]) -> None:
    for row in rows:
        assert row["relation"] in {"opening", "ending", "insert song"}
        assert int(row["MAL_ID"]) > 0
        assert 1960 <= int(row["MAL_Start_Date"]) <= 2026
        assert row["MAL_Status"] in {"finished_airing", "currently_airing"}
        assert row["tags"] == row["tags"].lower()
        assert len(row["tags"].split(", ")) == len(set(row["tags"].split(", "))) >= 3


def test_an_anime_is_described_alike_in_all_its_rows(rows: list[Row]) -> None:
    described = defaultdict(set)
    for row in rows:
        columns = [name for name in row if name.startswith("MAL_") or name in {"anime", "tags"}]
        described[row["MAL_ID"]].add(tuple(row[name] for name in columns))
    assert [mal_id for mal_id, ways in described.items() if len(ways) > 1] == []


def test_singers_are_known_and_come_back_across_anime(rows: list[Row]) -> None:
    sung = [row for row in rows if row["vocals"]]
    assert len(sung) >= 0.6 * len(rows)
    anime_of = defaultdict(set)
    for row in sung:
        for singer in row["vocals"].split(", "):
            anime_of[singer].add(row["MAL_ID"])
    assert sum(len(anime) >= 3 for anime in anime_of.values()) >= 10


def test_some_songs_belong_to_several_anime(rows: list[Row]) -> None:
    anime_of = defaultdict(set)
    for row in rows:
        anime_of[normalised(row["song"]), row["composition"]].add(row["MAL_ID"])
    assert len(anime_of[normalised("Moonlight Densetsu"), "Tetsuya Komoro"]) >= 3
    assert len(anime_of[normalised("Namae no Nai Kaibutsu"), "ryo"]) == 2


@pytest.mark.parametrize(
    ("column", "title", "mal_id"),
    [
        ("anime", "Hagane no Renkinjutsushi: Fullmetal Alchemist", "5114"),
        ("MAL_Title", "Shingeki no Kyojin", "16498"),
        ("MAL_Title_EN", "Attack on Titan", "16498"),
        ("MAL_Title_JP", "進撃の巨人", "16498"),
        ("MAL_Title_JP", "シュタインズ・ゲート", "9253"),
    ],
)
def test_anime_is_known_in_romaji_english_and_japanese(rows: list[Row], column: str, title: str, mal_id: str) -> None:
    assert {row["MAL_ID"] for row in rows if row[column] == title} == {mal_id}
