"""No file is read or written in the encoding of the machine's locale: what one machine wrote, another must read."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("contracts", "services", "collectors", "model_jobs")
# How many arguments may stand before the encoding: the text of write_text, for one.
TEXT = {"read_text": 0, "write_text": 1}
OPENS = ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile")
RUNS = ("run", "Popen", "check_output")


def unspoken(source: str) -> Iterator[int]:
    """The lines of calls that leave the encoding to the locale."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        named = {keyword.arg for keyword in call.keywords}
        if "encoding" in named or None in named:
            continue
        if name in TEXT and len(call.args) <= TEXT[name]:
            yield call.lineno
        if name in OPENS and _is_text(call):
            yield call.lineno
        if name in RUNS and {"text", "universal_newlines"} & named:
            yield call.lineno


def _is_text(call: ast.Call) -> bool:
    given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    words = [value.value for value in given if isinstance(value, ast.Constant) and isinstance(value.value, str)]
    # Modes are short; opening something that is no file (a browser, a shard) has none.
    modes = [word for word in words if 0 < len(word) <= 3 and set(word) <= set("rwaxbt+")]
    builtin = isinstance(call.func, ast.Name) and call.func.id == "open"
    return (builtin and not modes) or any("b" not in mode for mode in modes)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_is_opened_in_an_encoding_that_is_named(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = [
        f"{path.relative_to(ROOT)}:{line}" for path in files for line in unspoken(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    ["p.read_text()", "p.write_text(x)", "open(p)", "p.open('w')", "os.fdopen(h, mode='a')", "run(c, text=True)"],
)
def test_the_check_sees_what_it_should(code: str) -> None:
    assert list(unspoken(code)) == [1]


@pytest.mark.parametrize(
    "code", ["p.read_text('ascii')", "p.write_text(x, encoding='utf-8')", "p.open('rb')", "EdgeIndex.open(shard)"]
)
def test_the_check_leaves_alone_what_is_right(code: str) -> None:
    assert list(unspoken(code)) == []
