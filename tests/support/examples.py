"""Examples of the documents: what a reader may paste, line by line, and whether a command line could be one at all."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.main import get_command

from services.cli.main import app

ROOT = Path(__file__).parents[2]
# The shape of every block that is to be pasted: `sh`, each line a command; `console`, commands behind a prompt, and
# what they print.
SHELL, SESSION = "sh", "console"
PROMPT = "$ "
# Ends a line that a new running system is not enough for: `# needs: a dead letter`.
_NEEDS = re.compile(r"#.*?\bneeds: (?P<state>.+)$")
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+)(?P<tag>.*)$")
# A word that stands for something of the reader's.
_PLACEHOLDER = re.compile(r"^[A-Z][A-Z_]*$|^[A-Z_]+=[A-Z_]+$|^…|…$|^<\w+>$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a document: its tag, and (number, text) of its lines."""

    document: str
    tag: str
    lines: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Example:
    """One line that a reader may paste. `needs`: the state without which it fails; None: any new running system."""

    document: str
    number: int
    line: str
    needs: str | None = None

    def __str__(self) -> str:
        return f"{self.document}:{self.number}: {self.line}"


def documents() -> list[Path]:
    """The documents with examples, in the order in which a newcomer reads them."""
    first = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"]
    return [*first, *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path not in first)]


def blocks(path: Path) -> list[Block]:
    """Every fenced block of a document."""
    document = path.relative_to(ROOT).as_posix()
    found: list[Block] = []
    open_: re.Match[str] | None = None
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if open_ is None and fence:
            open_, lines = fence, []
        elif open_ is not None and fence and fence["fence"] == open_["fence"] and not fence["tag"]:
            found.append(Block(document, open_["tag"].strip(), tuple(lines)))
            open_ = None
        elif open_ is not None:
            lines.append((number, line.removeprefix(open_["indent"])))
    assert open_ is None, f"{document}: a block is not closed"
    return found


def examples(path: Path) -> list[Example]:
    """The lines to paste of a document, in its order; a line that ends with a backslash goes on in the next."""
    return [example for block in blocks(path) for example in _examples(block)]


def _examples(block: Block) -> Iterator[Example]:
    if block.tag not in (SHELL, SESSION):
        return
    whole = ""
    for number, text in block.lines:
        if block.tag == SESSION and not whole and not text.startswith(PROMPT):
            continue
        whole += text.removeprefix(PROMPT) if block.tag == SESSION else text
        if whole.endswith("\\"):
            whole = whole[:-1]
            continue
        if whole.strip() and not whole.startswith("#"):
            needs = _NEEDS.search(whole)
            yield Example(block.document, number, whole, needs["state"].strip() if needs else None)
        whole = ""


def commands(line: str) -> list[list[str]]:
    """The words of each command of a shell line: of pipes and lists, also inside `$(…)`; comments are left out."""
    inner = [part for found in re.findall(r"\$\((.*)\)", line) for part in commands(found)]
    lexer = shlex.shlex(re.sub(r"\$\(.*\)", "SUBSTITUTED", line), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    found: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if word in ("|", "||", "&&", ";", "&"):
            found.append([])
        elif set(word) <= set("<>") or word == ">&":
            next(words, None)
        else:
            found[-1].append(word)
    return [*(_without_settings(part) for part in found if part), *inner]


def _without_settings(words: list[str]) -> list[str]:
    """Without the variables before a command."""
    while len(words) > 1 and re.match(r"^[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def parse_animusic(words: Sequence[str], *, mention: bool = False) -> str | None:
    """What is wrong with the words behind `animusic`: a verb, option or argument that there is not; None: nothing.

    Nothing is run. A value that only stands for one (`VERSION`, `…`) is not looked at. A `mention` of a verb, as texts
    have it in backquotes, need not say what the verb is about.
    """
    command: Any = get_command(app)
    rest, name = list(words), "animusic"
    while hasattr(command, "get_command"):
        if not rest or rest[0] == "--help" or (mention and _PLACEHOLDER.search(rest[0])):
            return None
        inner = command.get_command(None, rest[0])
        if inner is None:
            return f"{name} has no verb {rest[0]}"
        command, name, rest = inner, f"{name} {rest[0]}", rest[1:]
    if "--help" in rest:
        return None
    try:
        command.make_context(name, list(rest))
    except Exception as error:  # noqa: BLE001 - Typer's errors are not public; whatever it refuses is the finding
        kind = type(error).__name__
        stands_for = kind == "BadParameter" and any(map(_PLACEHOLDER.search, rest))
        if stands_for or (mention and kind == "MissingParameter"):
            return None
        return f"{name}: {kind} {getattr(error, 'message', '') or error}"
    return None
