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


def table(result: Result) -> dict[str, str]:
    assert result.exit_code == 0, result.output
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
    assert listed.count("live") == 3 and listed.count("old") == 1 and "made up" in listed
    assert isinstance(models_command("build", "mpnet").exception, RuntimeError)
    assert isinstance(models_command("build", "nobody").exception, ValueError)
