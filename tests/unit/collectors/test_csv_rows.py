"""One quote too many loses one row where it can be told which; elsewhere every lost line is named."""

from pathlib import Path

import pytest

from collectors.csv_columns import CsvFile

HEADER = "relation,song,anime,MAL_ID,vocals\n"


def rows(*names: str) -> list[str]:
    return [f"opening,{name},Anime,7,Singer {name}\n" for name in names]


class Read:
    """What came of a text: titles, lines of rejected rows, lines that were not read."""

    def __init__(self, path: Path, *lines: str, header: str = HEADER) -> None:
        path.write_bytes((header + "".join(lines)).encode())
        file = CsvFile(path)
        self.titles = [entry.title for entry in file.entries()]
        self.rejected = [problem.line for problem in file.problems if problem.whole_row]
        self.reasons = " ".join(problem.reason for problem in file.problems)
        self.unread = file.unread
        assert file.rows == len(self.titles) + len(self.rejected)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "songs.csv"


def test_an_unclosed_quote_loses_its_own_row(path: Path) -> None:
    found = Read(path, *rows("A"), 'opening,"Lost love,Anime,7,B\n', *rows(*"CDEFGHIJ"))
    assert (found.titles, found.rejected, found.unread) == (list("ACDEFGHIJ"), [3], [])
    assert 'a quote (") in line 3 is never closed' in found.reasons


def test_so_it_does_where_the_title_has_a_comma_and_where_cells_in_quotes_follow(path: Path) -> None:
    found = Read(
        path, *rows("A"), 'opening,"Lost, love,Anime,7,B\n', *rows("C"), 'opening,"D, d",Anime,7,"E, F"\n', *rows("G")
    )
    assert (found.titles, found.rejected, found.unread) == (["A", "C", "D, d", "G"], [3], [])


def test_two_of_them_lose_two_rows_and_those_between_stay(path: Path) -> None:
    broken = 'opening,"Lost love,Anime,7,B\n'
    found = Read(path, *rows("A"), broken, *rows("C", "D"), broken, *rows("E"))
    assert (found.titles, found.rejected, found.unread) == (list("ACDE"), [3, 6], [])


def test_a_quote_that_another_stray_one_closes_is_told_by_the_rows_between(path: Path) -> None:
    found = Read(path, 'opening,"Lost love,Anime,7,B\n', *rows("C", "D"), 'opening,E,Anime,7,Singer"\n', *rows("F"))
    assert (found.titles, found.rejected, found.unread) == (["C", "D", "E", "F"], [2], [])


def test_where_the_two_make_a_row_of_the_right_width_nobody_can_tell_and_its_lines_are_named(path: Path) -> None:
    found = Read(path, 'opening,"Lost love,Anime,7,B\n', *rows("C"), 'opening,E",Anime,7,Singer\n', *rows("F"))
    assert (found.titles, found.rejected, found.unread) == (["F"], [2], [(2, 4)])
    assert "to line 4" in found.reasons


def test_a_broken_cell_of_several_lines_loses_its_lines_and_the_file_counts_as_unread(path: Path) -> None:
    found = Read(path, *rows("A"), 'opening,"Lost\n', "love,Anime,7,B\n", *rows("C", "D"))
    assert (found.titles, found.rejected, found.unread) == (["A", "C", "D"], [3, 4], [(3, 4)])


def test_a_quote_behind_which_nothing_is_a_row_loses_all_lines_to_the_end(path: Path) -> None:
    found = Read(path, *rows("A"), 'opening,"Lost love,Anime,7,B\n', "neither\n", "nor\n", "\n")
    assert (found.titles, found.rejected, found.unread) == (["A"], [3, 4, 5], [(3, 6)])


def test_a_file_that_ends_inside_a_row_was_cut_off(path: Path) -> None:
    for end in ('opening,"Cut', "opening,Cut,Ani"):
        found = Read(path, *rows(*"ABCDEFG"), end)
        assert (found.titles, found.rejected, found.unread) == (list("ABCDEFG"), [9], [(9, 9)])
    assert Read(path, *rows(*"ABCDEFG"), "opening,H,Anime,7,Singer").titles == list("ABCDEFGH")
    # A file whose rows leave their last cells out may end with such a row.
    assert Read(path, "opening,A,Anime\n", *rows(*"BCDEFG"), "opening,H,Anime").titles == list("ABCDEFGH")


def test_a_bad_quote_within_a_line_is_the_fault_of_that_row_alone(path: Path) -> None:
    found = Read(path, *rows("A"), 'opening,"So "called" song",Anime,7,B\n', *rows("C"))
    assert (found.titles, found.rejected, found.unread) == (["A", "C"], [3], [])
    last = Read(path, *rows("A"), 'opening,"Lost love,Anime,7,B\n')
    assert (last.titles, last.rejected, last.unread) == (["A"], [3], [])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_cells_of_several_lines_are_cells_by_the_standard(path: Path, end: str) -> None:
    lines = [
        f'opening,"Two{end}lines",Anime,7,"A, ""B""{end}C"{end}', f'opening,Short,"An{end}ime"{end}', end,
        f'opening,Last,Anime,7,"first, second{end}third, fourth"{end}',
    ]  # fmt: skip
    found = Read(path, *lines, header=HEADER.replace("\n", end))
    assert found.titles == [f"Two{end}lines", "Short", "Last"] and not found.rejected and not found.unread


@pytest.mark.parametrize("header", ["song,anime,MAL_ID,vocals\n", "vocals,song,anime\n", "anime,vocals,song\n"])
def test_a_cell_of_several_lines_may_stand_first_or_last(path: Path, header: str) -> None:
    names = header.strip().split(",")
    cells = {"song": "S", "anime": "A", "MAL_ID": "7", "vocals": "V"}
    for several in (names[0], names[-1]):
        row = ",".join('"one\ntwo, three\nfour"' if name == several else cells[name] for name in names)
        found = Read(path, f"{row}\n", header=header)
        assert len(found.titles) == 1 and not found.unread


def test_a_table_of_two_columns_is_read_by_the_standard_alone(path: Path) -> None:
    assert Read(path, 'Song,"An\nime, x"\n', header="song,anime\n").titles == ["Song"]


@pytest.mark.parametrize("by", [",", ";", "\t"])
def test_the_header_tells_the_separator(path: Path, by: str) -> None:
    header = by.join(["", "MAL_Score", "song", "anime", "vocals"]) + "\n"
    line = by.join(["0", '"7,5"', '"a, b; c\t"', "Anime", '"X, Y"']) + "\n"
    assert Read(path, line, header=header).titles == ["a, b; c"]


@pytest.mark.parametrize("header", ["song|anime\n", "song\n", "title;artist\n", "", "\n\n", '"song,anime\n'])
def test_a_header_that_is_none_says_what_it_has(path: Path, header: str) -> None:
    with pytest.raises(ValueError, match="needs at least `song` and `anime`"):
        Read(path, header=header)


def test_two_columns_of_one_name_are_refused_when_they_are_read(path: Path) -> None:
    with pytest.raises(ValueError, match="several columns named song"):
        Read(path, header="song,anime,song\n")
    assert Read(path, "1,2,A,B\n", header="x,x,song,anime\n").titles == ["A"]


def test_a_row_as_long_as_no_record_may_be_is_left_out(path: Path) -> None:
    long = "opening,Long,Anime,7,{}\n".format("x" * 99_990)
    longer = 'opening,Longer,Anime,7,"{}"\n'.format("x" * 140_000)
    found = Read(path, long, longer, *rows("A"))
    assert (found.titles, found.rejected, found.unread) == (["A"], [2, 3], [])
