"""Every command that a text of ours tells somebody to type is one that there is, with the options that it has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from services.cli.main import app

ROOT = Path(__file__).parents[3]
# A text may mean a verb that it does not name.
UNNAMED = ("…", "|", "<arguments>")
PACKAGES = ("services", "model_jobs", "collectors", "contracts")
ADVICE = re.compile(r"`animusic ([^`]+)`")


def advice() -> Iterator[tuple[str, str]]:
    """(file, command) of every command between back quotes in a text of the code; what a text fills in is VALUE."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for text in _texts(ast.parse(path.read_text(encoding="utf-8"))):
                for found in ADVICE.findall(" ".join(text.split())):
                    yield str(path.relative_to(ROOT)), found


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "VALUE" for part in node.values]
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


WHERE: dict[str, list[str]] = {}
for _path, _found in advice():
    WHERE.setdefault(_found, []).append(_path)


def test_there_is_advice_to_look_at() -> None:
    assert len(WHERE) > 40


@pytest.mark.parametrize("typed", sorted(WHERE))
def test_it_can_be_typed(typed: str) -> None:
    where, command, words = WHERE[typed], get_command(app), typed.split()
    context = command.context_class(command)
    while hasattr(command, "get_command") and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None or words[0] in ("…", "|", "<arguments>"), (
            f"{typed!r} in {where}: there is no {words[0]!r}"
        )
        if found is None:
            return
        command, words = found, words[1:]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    asked = {word.partition("=")[0].rstrip(",.") for word in words if word.startswith("--")}
    assert asked <= options, f"{typed!r} in {where}: {sorted(asked - options)} is no option of it"
