"""Every example of the documents could be pasted: its verb, options, routes and tables are there. Nothing is run here.

`tests/system/test_examples.py` pastes those that a new running system is enough for.
"""

import re
import shlex
from pathlib import Path

import pytest
from starlette.routing import Match

from services.common.settings import Settings
from services.gateway.app import build_app
from tests.support.examples import (
    PROMPT,
    ROOT,
    SESSION,
    SHELL,
    Example,
    blocks,
    commands,
    documents,
    examples,
    parse_animusic,
)

TAGS = {SHELL, SESSION, "text", "mermaid", "python", "json"}
OTHER_PROGRAMS = {"sed", "grep", "du", "cp", "export", "$EDITOR"}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TABLES = set(
    re.findall(
        r"CREATE (?:OR REPLACE )?(?:MATERIALIZED )?(?:TABLE|VIEW)(?: IF NOT EXISTS)? animusic\.(\w+)",
        "".join(
            path.read_text(encoding="utf-8") for path in sorted((ROOT / "services" / "warehouse" / "ddl").glob("*.sql"))
        ),
    )
)
DOCUMENTS = documents()
EXAMPLES = [example for path in DOCUMENTS for example in examples(path)]
MENTION = re.compile(r"`(?:\.venv/bin/)?animusic ([^`\n]+)`")
SOURCES = sorted(path for folder in ("services", "model_jobs", "collectors") for path in (ROOT / folder).rglob("*.py"))


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The gateway's app, not started."""
    return build_app(Settings(data_dir=Path(tmp_path_factory.mktemp("routes")), secret="s" * 32))


def test_there_are_examples_of_every_kind() -> None:
    programs = {words[0] for example in EXAMPLES for words in commands(example.line) if words}
    assert {"animusic", "make", "curl"} <= programs
    assert sum(example.needs is None for example in EXAMPLES) > 40


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_blocks_have_one_shape(path) -> None:
    for block in blocks(path):
        prompts = [text for _, text in block.lines if text.startswith(PROMPT)]
        assert block.tag.split(" ")[0] in TAGS, f"{block.document}:{block.lines[0][0]}: a block names what it holds"
        assert bool(prompts) == (block.tag == SESSION), f"{block.document}:{block.lines[0][0]}: {SESSION} has a prompt"
    assert indented_commands(path.read_text(encoding="utf-8")) == []


def indented_commands(text: str) -> list[str]:
    """Commands in blocks that are indented and not fenced, which no test would find."""
    plain = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"(?<=\n\n) {4,}((?:\$ |\.venv/bin/)?(?:animusic|make|curl|docker|pip) .*)", plain)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_what_an_example_calls_is_there(example, app) -> None:
    for words in commands(example.line):
        program, rest = Path(words[0]).name, words[1:]
        if program == "animusic":
            assert parse_animusic(rest) is None, example
            assert unknown_tables(rest) == [], example
        elif program == "make":
            assert unknown_targets(rest) == [], example
        elif program == "curl":
            assert route_of(rest, app), example
        else:
            assert words[0] in OTHER_PROGRAMS or re.match(r"^\w+=", words[0]), f"{example}: nobody knows {words[0]}"


def unknown_targets(words: list[str]) -> list[str]:
    """The verbs and variables of a `make` line that the Makefile does not have."""
    found = []
    for word in words:
        name, assigned, _ = word.partition("=")
        there = rf"^{re.escape(name)} \?=" if assigned else rf"^{re.escape(name)}:"
        if not re.search(there, MAKEFILE, re.MULTILINE):
            found.append(word)
    return found


def unknown_tables(words: list[str]) -> list[str]:
    """The tables that an `animusic sql` line asks and the migrations do not make."""
    if words[:1] != ["sql"]:
        return []
    asked = re.findall(r"(?:FROM|JOIN|TABLE) (?:animusic\.)?(\w+)", words[1])
    return [table for table in asked if table not in TABLES]


def route_of(words: list[str], app) -> bool:
    """Whether the URL of a curl line is a route of the gateway, for the method that curl would use."""
    (url,) = [word for word in words if word.startswith("http://")]
    path = re.sub(r"^http://[^/]+|\?.*$", "", url)
    method = "POST" if {"-d", "--data", "--data-binary"} & set(words) else "GET"
    method = words[words.index("-X") + 1] if "-X" in words else method
    scope = {"type": "http", "path": path, "root_path": "", "method": method, "headers": []}
    return any(route.matches(scope)[0] == Match.FULL for route in app.routes)


def test_each_verb_that_a_text_mentions_is_there() -> None:
    said = {(path, told) for path in [*DOCUMENTS, *SOURCES] for told in MENTION.findall(path.read_text("utf-8"))}
    assert len(said) > 100
    wrong = {f"{path.relative_to(ROOT)}: {told}: {why}" for path, told in said if (why := unknown_mention(told))}
    assert wrong == set()


def unknown_mention(told: str) -> str | None:
    """What is wrong with a verb that a text names, up to a list of alternatives, whatever is filled in."""
    line = re.sub(r"\{[^}]*\}", "VALUE", told).partition("|")[0].replace("…", "VALUE")
    return parse_animusic(shlex.split(line.partition(" > ")[0]), mention=True)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_document_has_a_path_that_nobody_can_paste(path) -> None:
    assert "<data_dir>" not in path.read_text(encoding="utf-8")


# ---- the collector itself -------------------------------------------------------------------------------------------

PAGE = """
```sh
one "a # b"   # says one
two \\
  three       # two; needs: a state
# four is a comment
```

   ```console
   $ five
   six
   ```

```text
$ seven
```
"""


def test_examples_are_found_line_by_line(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tests.support.examples.ROOT", tmp_path)
    (tmp_path / "page.md").write_text(PAGE)
    assert examples(tmp_path / "page.md") == [
        Example("page.md", 3, 'one "a # b"   # says one'),
        Example("page.md", 5, "two   three       # two; needs: a state", "a state"),
        Example("page.md", 10, "five"),
    ]


def test_a_line_is_taken_apart_into_its_commands() -> None:
    line = "TOKEN=$(curl -s http://h/v1 -d '{}' | sed 's/a|b/c/') && X=1 animusic dlq list > file # a comment"
    assert commands(line) == [
        ["TOKEN=SUBSTITUTED"],
        ["animusic", "dlq", "list"],
        ["curl", "-s", "http://h/v1", "-d", "{}"],
        ["sed", "s/a|b/c/"],
    ]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("status --watch", None),
        ("trace EVENT_ID", None),
        ("models switch ARM VERSION", None),
        ("models watchh", "animusic models has no verb watchh"),
        ("status --watchh", "animusic status: NoSuchOption"),
        ("trace", "animusic trace: MissingParameter"),
        ("trace nonsense", "animusic trace: BadParameter"),
        ("models switch tfidf a b", "animusic models switch: UsageError"),
    ],
)
def test_a_command_line_that_could_not_be_one_is_told(line, wrong) -> None:
    found = parse_animusic(shlex.split(line))
    assert (found is None) if wrong is None else str(found).startswith(wrong), found


def test_an_indented_command_is_found() -> None:
    assert indented_commands("text\n\n    animusic status\n\n```sh\n\n    make run\n```\n") == ["animusic status"]
