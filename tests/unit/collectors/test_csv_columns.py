"""Whole files in AniMusic's columns, with the quirks that are met in the wild."""

import gzip
from pathlib import Path

import pytest

from collectors.csv_columns import CsvFile
from collectors.entries import Entry, Problem


def read(path: Path, text: str | bytes) -> tuple[list[Entry], list[Problem]]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    file = CsvFile(path)
    return list(file.entries()), file.problems


def test_leading_index_columns_a_byte_order_mark_and_gzip(tmp_path: Path) -> None:
    text = "\ufeff,Unnamed: 0,relation,song,anime,MAL_ID\n0,0,opening,Aaa,Bbb,7.0\n1,1,,Ccc,Bbb,7\n"
    plain, _ = read(tmp_path / "a.csv", text)
    zipped, _ = read(tmp_path / "a.csv.gz", gzip.compress(text.encode(), mtime=0))
    assert plain == zipped and len(plain) == 2
    assert plain[0].title == "Aaa" and plain[0].anime.anime_id == "mal-7" and plain[0].relation == "opening"
    assert plain[1].relation == "theme song"


def test_every_column_arrives(tmp_path: Path) -> None:
    header = (
        "relation,song,song_url,episodes,rating,vocals,lyrics,composition,arrangement,chorus,tags,anime,MAL_ID,"
        "MAL_Title,MAL_Title_JP,MAL_Title_EN,MAL_Score,MAL_Rank,MAL_Popularity,MAL_Status,MAL_Genres,MAL_Start_Date,"
        "MAL_Studios,MAL_Source,full_youtube_uri,youtube_views,youtube_likes,youtube_video_id"
    )
    row = (
        'Opening,Song,/song/9,1-12,7.5,"Sing, Er",Ly,Com,Arr,Cho,"Happy, sad",Ani,5,Rom,日本,Eng,8.1,3,2,aired,'
        '"Drama, Music",2001-02,Stu,manga,https://youtu.be/abcdefghijk,"938,066",9.7K,abcdefghijk'
    )
    (entry,), problems = read(tmp_path / "a.csv", f"{header}\n{row}\n")
    assert not problems and entry.song_id == "anidb-9"
    people = entry.credits
    assert (people.vocals, people.lyrics, people.composition) == (("Sing", "Er"), ("Ly",), ("Com",))
    assert (people.arrangement, people.chorus) == (("Arr",), ("Cho",))
    assert entry.tags == ("happy", "sad") and entry.rating == 7.5 and entry.episodes == "1-12"
    assert entry.link is not None and entry.link.id == "abcdefghijk"
    assert (entry.link.views, entry.link.likes) == (938_066, 9_700)
    anime = entry.anime
    assert (anime.title, anime.title_romaji, anime.title_jp, anime.title_en) == ("Ani", "Rom", "日本", "Eng")
    assert (anime.score, anime.rank, anime.popularity, anime.genres) == (8.1, 3, 2, ("Drama", "Music"))
    assert (anime.studios, anime.source, anime.start_date) == (("Stu",), "manga", "2001-02")


def test_rows_that_cannot_be_taken_say_why_and_the_others_come(tmp_path: Path) -> None:
    text = 'song,anime\n,Anime\nSong,\n"",""\nx,y,z\nbad\ufffd,Anime\nGood,Anime\n' + "t" * 600 + ",Anime\n"
    entries, problems = read(tmp_path / "a.csv", text)
    assert [entry.title for entry in entries] == ["Good"]
    assert [problem.line for problem in problems] == [2, 3, 4, 5, 6, 8]
    reasons = " ".join(problem.reason for problem in problems)
    for reason in ("no song title", "no anime", "more cells", "U+FFFD", "500 characters"):
        assert reason in reasons


def test_a_bad_cell_is_left_out_and_noted_and_its_row_is_taken(tmp_path: Path) -> None:
    text = "song,anime,MAL_Score,youtube_views,youtube_video_id\nSong,Anime,high,lots,abcdefghijk\n"
    (entry,), problems = read(tmp_path / "a.csv", text)
    assert entry.anime.score is None and entry.link is not None and entry.link.views is None
    assert {problem.whole_row for problem in problems} == {False} and len(problems) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"title;artist\na;b\n", "AniMusic's columns"),
        (b"", "AniMusic's columns"),
        (gzip.compress(b"song,anime\n" + b"a,b\n" * 9_000, mtime=0)[:60], "a.csv"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused_with_a_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(tmp_path / "a.csv", content)


def test_text_that_was_lost_before_is_kept_nowhere(tmp_path: Path) -> None:
    text = "song,anime,vocals,tags,episodes\n" + "".join(
        [
            "Whole,Anime,A\ufffd,happy,1-2\n",
            "Whole,Other,A\ufffd,sad\x00,1\x9b2\n",
            "Lo\x1bst,Anime,B,,\n",
            "Ok,A\ufffd,B,,\n",
        ]
    )
    entries, problems = read(tmp_path / "a.csv", text)
    assert [(e.title, e.anime.title, e.credits.vocals, e.tags, e.episodes) for e in entries] == [
        ("Whole", "Anime", (), ("happy",), "1-2"), ("Whole", "Other", (), (), None),
    ]  # fmt: skip
    assert [(problem.line, problem.whole_row) for problem in problems] == [
        (2, False), (3, False), (3, False), (3, False), (4, True), (5, True),
    ]  # fmt: skip
    assert "the title is no text: it has a U+001B" in problems[4].reason and "U+FFFD" in problems[5].reason


MOST = 2**32 - 1


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("MAL_ID", "1", 1), ("MAL_ID", str(MOST), MOST), ("MAL_ID", "0", None), ("MAL_ID", str(MOST + 1), None),
        ("MAL_Rank", "12,345", 12_345), ("MAL_Rank", "0", None), ("MAL_Rank", "N/A", None), ("MAL_Rank", "-1", None),
        ("MAL_Popularity", "12.345", 12_345), ("MAL_Popularity", "99999999999", None), ("MAL_Popularity", "0", None),
        ("MAL_Score", "10", 10.0), ("MAL_Score", "0", 0.0), ("MAL_Score", "8,25", 8.25), ("MAL_Score", "10.01", None),
        ("MAL_Score", "-3.5", None), ("rating", "9.99", 9.99), ("rating", "11", None), ("rating", "NaN", None),
        ("youtube_views", "9,7K", 9_700), ("youtube_views", str(2**64 - 1), 2**64 - 1),
        ("youtube_views", str(2**64), None), ("youtube_likes", "1.2", None), ("youtube_likes", "20B", 20 * 10**9),
    ],
)  # fmt: skip
def test_a_number_outside_what_the_contract_takes_is_left_out_and_said(
    tmp_path: Path, column: str, cell: str, expected: float | None
) -> None:
    text = f'song,anime,youtube_video_id,{column}\nSong,Anime,abcdefghijk,"{cell}"\n'
    (entry,), problems = read(tmp_path / "a.csv", text)
    assert entry.link is not None
    found = {
        "MAL_ID": entry.anime.mal_id, "MAL_Rank": entry.anime.rank, "MAL_Popularity": entry.anime.popularity,
        "MAL_Score": entry.anime.score, "rating": entry.rating, "youtube_views": entry.link.views,
        "youtube_likes": entry.link.likes,
    }  # fmt: skip
    assert found[column] == expected
    said = expected is None and cell != "NaN"
    assert [(problem.line, problem.whole_row) for problem in problems] == [(2, False)] * said
    assert all(problem.reason.startswith(f"{column} left out: ") for problem in problems)
    assert ("0 means that there is none" in problems[0].reason) == (cell == "0") if said else True


def test_an_id_of_anidb_that_is_none_is_left_out_and_the_song_goes_by_its_title(tmp_path: Path) -> None:
    ids = {"A": 0, "B": MOST + 1, "C": "9" * 5_000, "D": 8}
    text = "song,anime,song_url\n" + "".join(f"{title},Anime,/song/{id}\n" for title, id in ids.items())
    entries, problems = read(tmp_path / "a.csv", text)
    assert [entry.anidb_id for entry in entries] == [None, None, None, 8]
    assert [problem.line for problem in problems] == [2, 3]


def test_a_file_in_another_encoding_is_read_when_it_is_named_and_merges_nothing_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("song,anime,vocals\n光,アニメ,宇多田ヒカル\n光,映画,中島美嘉\n".encode("cp932"))
    with pytest.raises(ValueError, match=r"looks like cp932\): pass `--encoding cp932`"):
        list(CsvFile(path).entries())
    assert [entry.credits.vocals for entry in CsvFile(path, "cp932").entries()] == [("宇多田ヒカル",), ("中島美嘉",)]
