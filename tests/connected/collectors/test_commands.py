"""`animusic catalogue` and `animusic models` as a person types them, against a real log."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from collectors.synthetic import synthetic_songs
from services.cli import catalogue, models
from services.common.settings import KafkaSettings

pytestmark = pytest.mark.connected


@pytest.fixture
def here(log: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANIMUSIC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS", log.bootstrap_servers)
    return tmp_path


def catalogue_command(*words: str) -> Result:
    return CliRunner().invoke(catalogue.app, list(words))


def models_command(*words: str) -> Result:
    return CliRunner().invoke(models.app, list(words))


def table(result: Result, status: int = 0) -> dict[str, str]:
    assert result.exit_code == status, result.output
    lines = (line.rsplit("  ", 1) for line in result.stdout.splitlines())
    return {name.strip(): rest.split(" ")[0] for name, rest in lines}


def test_a_file_with_a_bad_row_says_where_the_reasons_are(here: Path) -> None:
    file = here / "songs.csv"
    file.write_text("song,anime,MAL_Score\nGood,Anime,7.1\n,Anime,5\nOdd,Anime,high\ngood!,Anime,\n")
    first = catalogue_command("import", str(file))
    assert table(first)["rejected"] == "1" and table(first)["left out"] == "1"
    assert table(first)["duplicates merged"] == "1" and table(first)["new"] == "2"
    (listed,) = (here / "data").glob("rejected-*.csv")
    assert str(listed) in first.stdout
    reasons = [(row["line"], row["rejected"]) for row in csv.DictReader(listed.open(newline=""))]
    assert reasons == [("3", "row"), ("4", "cell")]
    again = catalogue_command("import", str(file), "--rejected", str(here / "why.csv"))
    assert (here / "why.csv").is_file() and table(again)["unchanged"] == "2"
    assert table(again)["catalogue digest"] == table(first)["catalogue digest"]
    assert table(again)["catalogue digest"] == catalogue_command("digest").stdout.strip()


HEADER = "relation,song,anime,MAL_ID,vocals\n"


def lines(first: int, last: int) -> str:
    return "".join(f"opening,Song {n:02d},Anime {n:02d},{900 + n},Singer {n}\n" for n in range(first, last))


def test_what_a_file_does_not_have_is_withdrawn_only_by_a_whole_file_and_by_much_only_with_yes(here: Path) -> None:
    file = here / "songs.csv"

    def withdraw(text: str, *words: str) -> Result:
        file.write_text(text)
        return catalogue_command("import", str(file), "--withdraw-missing", *words)

    assert table(withdraw(HEADER + lines(0, 40)))["new"] == "40"
    few = withdraw(HEADER + lines(4, 40))
    assert table(few)["withdrawn"] == "4" and "does not have 4 of 40 songs (10.0%): Song 00 (Anime 00), " in few.stderr
    most = withdraw(HEADER + lines(30, 41))
    assert (table(most, 65)["withdrawn"], table(most, 65)["new"]) == ("0", "1")
    assert "nothing was withdrawn: the songs that are missing" in most.stderr and "`--yes`" in most.stderr
    # A quote too many: its row is lost, its song is not missing, nor are those behind it.
    quote = withdraw(HEADER + lines(4, 20) + 'opening,"Song 20,Anime 20,920,Singer 20\n' + lines(21, 41))
    assert (table(quote)["rejected"], table(quote)["withdrawn"], table(quote)["unchanged"]) == ("1", "0", "36")
    for part, why in (
        (HEADER, "the source has no row that could be read"),
        (HEADER + lines(4, 20) + 'opening,"Song 20,Ani', "the source was not read to its end (line 18)"),
        (
            HEADER + lines(4, 20) + 'opening,"Song\n20,Anime 20,920,Singer\n' + lines(21, 30),
            "the source was not read to its end (lines 18 to 19)",
        ),
    ):
        refused = withdraw(part, "--yes")
        assert table(refused, 65)["withdrawn"] == "0"
        assert f"nothing was withdrawn: {why}" in refused.stderr
    assert table(withdraw(HEADER + lines(30, 41), "--yes"))["withdrawn"] == "26"
    assert "11 songs, 30 withdrawn" in catalogue_command("digest").stderr


def test_lines_that_were_lost_are_named_and_the_exit_code_says_it(here: Path) -> None:
    file = here / "songs.csv"
    file.write_text(HEADER + lines(0, 3) + 'opening,"Lost,Anime,7,B\nneither\nnor\n')
    read = catalogue_command("import", str(file))
    assert (table(read, 65)["read"], table(read, 65)["new"], table(read, 65)["rejected"]) == ("6", "3", "3")
    assert "rows (lines 5-7), all with reasons in " in read.stdout
    assert "the file was not read to its end: rows may be lost in line 5-7" in read.stderr


def test_another_encoding_stops_an_import_until_it_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = here / "songs.csv"
    file.write_bytes("song,anime,vocals\n光,アニメ,宇多田ヒカル\n".encode("cp932"))
    stopped = catalogue_command("import", str(file))
    assert isinstance(stopped.exception, ValueError) and "pass `--encoding cp932`" in str(stopped.exception)
    assert table(catalogue_command("import", str(file), "--encoding", "cp932"))["new"] == "1"
    monkeypatch.setenv("ANIMUSIC_CATALOGUE__ENCODING", "cp932")
    assert table(catalogue_command("import", str(file)))["unchanged"] == "1"
    assert isinstance(catalogue_command("import", str(file), "--encoding", "martian").exception, ValueError)


def test_from_an_empty_log_to_live_models(here: Path) -> None:
    assert table(catalogue_command("import", "synthetic", "--songs", "60"))["new"] == "60"
    shown = catalogue_command("show", synthetic_songs(60)[7].song_id)
    assert json.loads(shown.stdout)["made_up"] is True
    assert isinstance(catalogue_command("show", "nobody").exception, LookupError)
    built = models_command("build")
    assert "tfidf: built" in built.stderr and "node2vec: built" in built.stderr
    assert "up to date" in models_command("build").stderr
    assert "minilm: built" in models_command("load-random", "minilm").stderr
    small = models_command("build", "node2vec", "--dimension", "8")
    assert "8 dimensions" in small.stderr
    listed = models_command("list").stdout
    states = [line.rstrip().split("  ")[-1].strip() for line in listed.splitlines()[1:]]
    assert sorted(states) == ["live", "live", "live, made up", "was live"], listed
    assert isinstance(models_command("build", "mpnet").exception, RuntimeError)
    assert isinstance(models_command("build", "nobody").exception, ValueError)
