"""The reader on files that nobody thought of: it never crashes, and of the rows that go in none is lost silently.

A run of the suite tries some hundred files. For a long one, some ten minutes on a machine with nothing else to do:

    ANIMUSIC_FUZZ_EXAMPLES=12000 .venv/bin/python -m pytest tests/unit/collectors/test_csv_fuzz.py -q --timeout 0
"""

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.sources import Found, read, source_named

COLUMNS = (
    "relation", "song", "anime", "MAL_ID", "MAL_Score", "MAL_Rank", "song_url", "vocals", "tags", "youtube_video_id",
    "full_youtube_uri", "youtube_views", "rating", "unknown",
)  # fmt: skip
FUZZ = settings(
    max_examples=int(os.environ.get("ANIMUSIC_FUZZ_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_ODD = st.sampled_from(
    ["", " ", "nan", "0", "-1", "11", "1,234", "9,7K", "4294967296", "18446744073709551616", "/song/99999999999", '"',
     '""', "a\nb", "a\r\nb", "x,y;z\tw", "\ufffd", "\x00", "\ufeff", "\u2028", "é", "光", "abcdefghijk", "x" * 600,
     "0\x1f", "\x85", "\nopening,Inner,Anime,7\n"]
)  # fmt: skip
CELLS = st.one_of(_ODD, _ANY)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One file for all examples."""
    return tmp_path_factory.mktemp("fuzz") / "songs.csv"


def found_in(path: Path, data: bytes) -> Found:
    """What the reader makes of it; every row is accounted for."""
    path.write_bytes(data)
    found = read(source_named(str(path)))
    assert found.rows == len(found.songs) + found.merged_rows + found.rejected
    assert all(problem.line >= 1 and problem.reason for problem in found.problems)
    assert not any("\ufffd" in song.log_value().decode() for song in found.songs)
    return found


def titles(found: Found) -> set[str]:
    return {song.title for song in found.songs}


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    """A header and rows of as many cells; a row that begins with `good` is one that must be taken."""
    others = draw(st.lists(st.sampled_from(COLUMNS), unique=True, max_size=6))
    header = draw(st.permutations(list(dict.fromkeys(["song", "anime", *others]))))
    rows = []
    for number in range(draw(st.integers(0, 12))):
        cells = {name: draw(CELLS) for name in header}
        if draw(st.booleans()):
            cells |= {"song": f"good {number}", "anime": f"Anime {number}"}
        rows.append([cells[name] for name in header])
    return header, rows


def written(cells: list[str], by: str, quoted: bool) -> str:
    """A row by the standard."""
    special = {by, '"', "\n", "\r"}
    return by.join('"' + cell.replace('"', '""') + '"' if quoted or special & set(cell) else cell for cell in cells)


FORMS = st.tuples(
    st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.booleans(), st.booleans(),
)  # fmt: skip


@FUZZ
@given(tables(), FORMS)
def test_every_row_of_a_good_file_is_a_song_merged_or_rejected(
    path: Path, table: tuple[list[str], list[list[str]]], form: tuple[str, str, str, bool, bool]
) -> None:
    (header, rows), (by, end, encoding, quoted, packed) = table, form
    data = "".join(written(cells, by, quoted) + end for cells in [header, *rows]).encode(encoding)
    found = found_in(path, gzip.compress(data, 1) if packed else data)
    assert found.rows == len(rows)
    # A row with another one in a cell is rejected: nobody can tell it from a quote too many.
    good = [dict(zip(header, cells, strict=True)) for cells in rows if not any("Inner" in cell for cell in cells)]
    shown = {use.anime.title for song in found.songs for use in song.appearances}
    assert {cells["anime"] for cells in good if cells["song"].startswith("good ")} <= shown


def _simple_rows(count: int) -> list[str]:
    quoted = [f'opening,"Song, {n}",Anime,7,"A, B"' for n in range(count)]
    return [line if n % 3 == 0 else f"opening,Song {n},Anime,7,Singer" for n, line in enumerate(quoted)]


@FUZZ
@given(st.integers(2, 12), st.data())
def test_one_quote_too_many_or_too_few_costs_one_row(path: Path, count: int, data: st.DataObject) -> None:
    lines = _simple_rows(count)
    at = data.draw(st.integers(0, count - 1))
    line = lines[at]
    place = data.draw(st.integers(0, len(line)))
    quotes = [position for position, char in enumerate(line) if char == '"']
    if quotes and data.draw(st.booleans()):
        gone = data.draw(st.sampled_from(quotes))
        lines[at] = line[:gone] + line[gone + 1 :]
    else:
        lines[at] = line[:place] + '"' + line[place:]
    text = "relation,song,anime,MAL_ID,vocals\n" + "".join(f"{line}\n" for line in lines)
    found = found_in(path, text.encode())
    others = {f"Song, {n}" if n % 3 == 0 else f"Song {n}" for n in range(count) if n != at}
    assert others <= titles(found)
    assert (found.rows, found.unread) == (count, []) and found.rejected <= 1
    assert all(problem.line == at + 2 for problem in found.problems)


@FUZZ
@given(st.integers(1, 12), st.data())
def test_of_many_stray_quotes_every_row_that_is_lost_is_named(path: Path, count: int, data: st.DataObject) -> None:
    lines, touched = _simple_rows(count), set()
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, count - 1))
        place = data.draw(st.integers(0, len(lines[at])))
        lines[at] = lines[at][:place] + '"' + lines[at][place:]
        touched.add(at)
    end = data.draw(st.sampled_from(["", "\n"]))
    text = "relation,song,anime,MAL_ID,vocals\n" + "\n".join(lines) + end
    found = found_in(path, text.encode())
    named = {problem.line for problem in found.problems} | {n for a, b in found.unread for n in range(a, b + 1)}
    untouched = {n: f"Song, {n}" if n % 3 == 0 else f"Song {n}" for n in range(count) if n not in touched}
    assert [title for n, title in untouched.items() if title not in titles(found) and n + 2 not in named] == []


@FUZZ
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(st.sampled_from('song,anime;\t"\n\r光\ufffd\x00 0'), max_size=300).map(str.encode),
        st.binary(max_size=200).map(lambda tail: b"song,anime\nA,B\n" + tail),
        st.text(max_size=200).map(lambda tail: ("song,anime,MAL_ID\nA,B,1\n" + tail).encode("utf-8", "replace")),
        st.binary(max_size=200).map(lambda tail: gzip.compress(b"song,anime\nA,B\n" + tail, 1)[: len(tail) + 20]),
    ),
)
def test_whatever_the_bytes_are_they_are_read_or_refused_with_a_sentence(path: Path, data: bytes) -> None:
    try:
        found_in(path, data)
    except ValueError as error:
        assert str(path) in str(error) and len(str(error)) < 1_000


@FUZZ
@given(
    st.binary(max_size=200), st.sampled_from(["cp932", "latin-1", "utf-7", "utf-16-le", "raw_unicode_escape", "idna"])
)
def test_whatever_the_encoding_is_called_it_is_read_or_refused_with_a_sentence(
    path: Path, tail: bytes, encoding: str
) -> None:
    path.write_bytes("song,anime\nA,B\n".encode("utf-16-le" if encoding == "utf-16-le" else "ascii") + tail)
    try:
        found = read(source_named(str(path), encoding=encoding))
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert found.rows == len(found.songs) + found.merged_rows + found.rejected
        assert all(song.log_value() for song in found.songs)
