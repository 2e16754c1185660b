"""Every verb says what it does; every error that a person can cause is a sentence."""

import json
import os
import subprocess
import sys

import pytest
from aiokafka.errors import KafkaConnectionError
from pydantic import ValidationError
from typer.testing import CliRunner

from services.cli.errors import CONFIG, FAILED, UNAVAILABLE, explain
from services.cli.main import VERBS, app
from services.common.settings import ENDPOINTS_FILE, Settings
from services.local.errors import AlreadyRunning

GROUPS = {
    "serve": ("gateway", "profiles", "warehouse", "recommender"),
    "catalogue": ("import", "show", "digest"),
    "models": ("build",),
    "replay": ("profiles", "warehouse", "catalogue", "models"),
}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch, tmp_path) -> None:
    for name in [name for name in os.environ if name.startswith("ANIMUSIC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANIMUSIC_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TERMINAL_WIDTH", "120")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return str(result.output)


def test_the_help_lists_every_verb() -> None:
    shown = run("--help")
    assert all(f" {verb} " in shown for verb in VERBS)


@pytest.mark.parametrize(
    "verb", [*((verb,) for verb in VERBS), *((g, v) for g, verbs in GROUPS.items() for v in verbs)]
)
def test_every_verb_has_help_that_begins_with_a_sentence(verb) -> None:
    shown = run(*verb, "--help")
    sentence = " ".join(shown.split("Usage:")[1].split("\n\n")[0:3])
    assert "." in sentence or ":" in sentence
    assert len(sentence.split()) > 6


def test_an_unknown_verb_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["bogus"]).exit_code == 2


def test_settings_lists_all_by_their_variables_and_hides_secrets(monkeypatch) -> None:
    monkeypatch.setenv("ANIMUSIC_SECRET", "s3cret" * 8)
    monkeypatch.setenv("ANIMUSIC_REDIS__URL", "redis://me:pa55word@store:6379/0")
    shown = run("settings")
    assert "s3cret" not in shown
    assert "pa55word" not in shown
    lines = {line["variable"]: line for line in json.loads(run("settings", "--json"))}
    assert lines["ANIMUSIC_REDIS__URL"]["source"] == "environment"
    assert lines["ANIMUSIC_PORT"] == {
        "variable": "ANIMUSIC_PORT",
        "type": "whole number",
        "default": "8080",
        "value": "8080",
        "source": "default",
        "description": "the one public port",
    }
    assert set(lines) == set(_variables())


def _variables():
    for name, field in Settings.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        yield from [f"ANIMUSIC_{name}".upper()] if inner is None else [f"ANIMUSIC_{name}__{n}".upper() for n in inner]


def test_a_setting_of_the_running_system_is_named_as_such(tmp_path) -> None:
    (tmp_path / ENDPOINTS_FILE).parent.mkdir()
    (tmp_path / ENDPOINTS_FILE).write_text('{"port": 8181}')
    lines = {line["variable"]: line for line in json.loads(run("settings", "--json"))}
    assert (lines["ANIMUSIC_PORT"]["value"], lines["ANIMUSIC_PORT"]["source"]) == ("8181", "running system")


def settings_error(**variables: str) -> ValidationError:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        with pytest.raises(ValidationError) as refused:
            Settings()
    return refused.value


def test_a_wrong_setting_is_named_as_it_is_set() -> None:
    error = settings_error(ANIMUSIC_KAFKA__PARTITIONS="many", ANIMUSIC_PORT="99999")
    sentence, code, expected = explain(error)
    assert code == CONFIG
    assert expected
    assert "ANIMUSIC_KAFKA__PARTITIONS is not good" in sentence
    assert "ANIMUSIC_PORT is not good" in sentence


@pytest.mark.parametrize("error", [ConnectionError("no broker"), KafkaConnectionError(), TimeoutError()])
def test_nothing_that_answers_says_how_to_start_it(error, tmp_path) -> None:
    sentence, code, _ = explain(error)
    assert code == UNAVAILABLE
    assert f"No system runs on the data directory {tmp_path}" in sentence
    (tmp_path / ENDPOINTS_FILE).parent.mkdir()
    (tmp_path / ENDPOINTS_FILE).write_text('{"kafka": {"bootstrap_servers": "127.0.0.1:21111"}, "port": 8080}')
    assert "kafka 127.0.0.1:21111, port 8080" in explain(error).sentence
    (tmp_path / "run" / "status.json").write_text('{"pid": 99999999}')
    assert "No system runs" in explain(error).sentence


@pytest.mark.parametrize(
    ("error", "sentence", "expected"),
    [
        (AlreadyRunning("it runs"), "it runs", True),
        (LookupError("no such song"), "no such song", True),
        (FileNotFoundError(2, "No such file or directory", "x.csv"), "x.csv: No such file or directory", True),
        (FileNotFoundError("there is no file x.csv"), "there is no file x.csv", True),
        (KeyError("arm"), "an unexpected KeyError", False),
    ],
)
def test_an_error_is_a_sentence_and_a_mistake_of_ours_is_told_apart(error, sentence, expected) -> None:
    said = explain(error)
    assert said.code == FAILED
    assert said.sentence.startswith(sentence)
    assert said.expected is expected


def test_no_traceback_reaches_a_person(tmp_path) -> None:
    code = "import sys; sys.argv = ['animusic', 'topics', '--wait', '0']; from services.cli.main import main; main()"
    environment = {**os.environ, "ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == UNAVAILABLE
    assert done.stderr.startswith("animusic: no Kafka broker answered at 127.0.0.1:1")
    assert len(done.stderr.splitlines()) == 1
