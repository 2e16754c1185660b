"""The help of every verb is whole at any width, and what it tells to type can be typed."""

import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from services.cli.main import app
from services.cli.verbs import readable


def verbs(command: Any = None, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(words, command) of every verb, the hidden ones too."""
    command = command or get_command(app)
    yield path, command
    names = command.list_commands(None) if hasattr(command, "list_commands") else ()
    for name in names:
        yield from verbs(command.get_command(None, name), *path, name)


ALL = {" ".join(path): command for path, command in verbs()}


def shown(verb: str, columns: int) -> str:
    """What `animusic VERB --help` prints where a terminal has this width."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
        patch.setenv("COLUMNS", str(columns))
        # Typer reads TERMINAL_WIDTH once, when it is imported: perhaps while another test had set it.
        patch.setattr("typer.rich_utils.MAX_WIDTH", None)
        readable(get_command(app))([*verb.split(), "--help"], prog_name="animusic")
    assert ended.value.code == 0
    return out.getvalue()


def test_there_are_verbs_in_groups() -> None:
    assert {"", "run", "serve gateway", "models build", "dlq redrive", "replay playlists"} <= set(ALL)


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("verb", ["models build", "dlq redrive", "replay playlists", "status", "models evaluate"])
def test_no_option_is_cut(verb, columns) -> None:
    text = shown(verb, columns)
    options = [option for parameter in ALL[verb].params for option in parameter.opts if option.startswith("--")]
    assert options
    assert [option for option in options if not re.search(rf"{option}(?![\w-])", text)] == []
    assert not re.search(r"\w…", text)


@pytest.mark.parametrize("columns", [40, 80])
def test_the_first_page_names_every_verb_and_shows_no_markup(columns) -> None:
    text = shown("", columns)
    names = [verb for verb in ALL if verb and " " not in verb]
    assert [name for name in names if not re.search(rf"^\W*{name}\s", text, re.MULTILINE)] == []
    assert "[bold]" not in text


def test_a_sentence_is_not_broken_where_the_source_is() -> None:
    paragraphs = shown("models build", 200).split("\n\n")
    assert any("A model that fails its checks is thrown away" in paragraph for paragraph in paragraphs)
    assert "[[ARM]" not in shown("models build", 200)
