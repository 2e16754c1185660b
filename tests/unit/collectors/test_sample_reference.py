"""The sample catalogue against the reference of real songs, and what SOURCES.md says of that comparison."""

import csv
import re
from pathlib import Path

import pytest

from collectors.sample.check import REQUIRED_SHARE, SAMPLE, compare, main, read_pairs

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "data" / "real_songs.csv.gz"
SOURCES = SAMPLE.with_name("SOURCES.md").read_text(encoding="utf-8")
COLUMNS = ("song", "MAL_ID")


def recorded() -> tuple[int, int, float]:
    """Found pairs, all pairs and the percentage, as SOURCES.md states them."""
    stated = re.search(r"Found: (\d+) of (\d+) pairs \((\d+\.\d) %\)", SOURCES)
    assert stated, "SOURCES.md must state `Found: n of m pairs (p %)`"
    return int(stated[1]), int(stated[2]), float(stated[3])


def listed_as_missing() -> set[tuple[int, str]]:
    """(MAL id, title) of each row of the table of SOURCES.md that has a reason."""
    return {(int(mal_id), title) for mal_id, title in re.findall(r"^\| (\d+) \| (.+?) \| \S.* \|$", SOURCES, re.M)}


def write_csv(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([COLUMNS, *rows])
    return path


def test_nineteen_in_twenty_pairs_are_real_and_the_rest_explained() -> None:
    found, total, percentage = recorded()
    assert total == len(read_pairs(SAMPLE))
    assert percentage == round(100 * found / total, 1) >= 100 * REQUIRED_SHARE
    assert len(listed_as_missing()) == total - found
    if REFERENCE.exists():
        result = compare(SAMPLE, REFERENCE)
        assert result.share >= REQUIRED_SHARE
        assert (len(result.found), result.total) == (found, total)
        assert {(mal_id, title) for (mal_id, _), title in result.missing.items()} == listed_as_missing()


def test_titles_meet_whatever_their_case_and_punctuation(tmp_path: Path) -> None:
    sample = write_csv(tmp_path / "sample.csv", [("GO!!!", "20"), ("Wind", "20"), ("Blue", "1")])
    reference = write_csv(tmp_path / "reference.csv", [("ｇｏ", "20.0"), ("Wind", "21"), ("Blue", "")])
    result = compare(sample, reference)
    assert set(result.found) == {(20, "go")}
    assert set(result.missing.values()) == {"Wind", "Blue"}
    assert result.share == pytest.approx(1 / 3)


def test_command_tells_enough_from_too_few_from_unreadable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SAMPLE)]) == 0
    assert "not found 0" in capsys.readouterr().out
    assert main([str(write_csv(tmp_path / "few.csv", [("again", "5114")]))]) == 1
    assert "found 1 of" in capsys.readouterr().out
    assert main([str(tmp_path / "absent.csv")]) == 2
    assert "absent.csv" in capsys.readouterr().err
    (tmp_path / "other.csv").write_text("title\nagain\n", encoding="utf-8")
    assert main([str(tmp_path / "other.csv")]) == 2
    assert "MAL_ID, song" in capsys.readouterr().err
    assert main([]) == 2
