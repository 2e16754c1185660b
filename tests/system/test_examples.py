"""The examples of the documents, pasted one by one into a new running system, as a newcomer would.

Each document is one shell, in the reader's directory. What a line names as its need (`# needs: …`) is left out, and so
is `make`: its verbs are tests of their own. A line that fails without saying what it needs is the finding.
"""

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from services.local.parts import animusic
from tests.support.examples import ROOT, Example, commands, documents, examples
from tests.support.system import System
from tests.support.waiting import poll

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

_LINE_SECONDS = 180.0
# These say how the system is: on a busy machine it is well a little later.
_OF_HEALTH = ("status", "ledger", "verify", "report")
_HEALTHY_SECONDS = 120.0
# What a terminal's Ctrl-C ends: an interrupted shell's 130, or an orderly end.
_ENDED = (0, 130)


class Newcomer:
    """Somebody in a directory with `.venv` and `.animusic`, as `make run` leaves it."""

    def __init__(self, system: System, directory: Path) -> None:
        self.directory = directory
        self._system = system
        # The same line needs no second look: nothing that a document does breaks what another showed.
        self.pasted: set[str] = set()
        (directory / ".venv" / "bin").mkdir(parents=True)
        (directory / ".animusic").symlink_to(system.data_dir)
        self._install(animusic())

    def _install(self, command: list[str]) -> None:
        script = self.directory / ".venv" / "bin" / "animusic"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def environment(self) -> dict[str, str]:
        """A home of their own, and no setting; README.md puts `.venv/bin` on the path, so later pages have it."""
        path = f"{self.directory / '.venv' / 'bin'}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.directory), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}

    def line(self, example: Example) -> str:
        """The line with the address of this system."""
        return example.line.replace("127.0.0.1:8080", urlsplit(self._system.url).netloc)


class Shell:
    """One bash that lines are pasted into. Variables stay from one line to the next."""

    def __init__(self, newcomer: Newcomer, directory: Path) -> None:
        self._output, self._status = directory / "output", directory / "status"
        self._bash = subprocess.Popen(
            ["bash", "--norc"], stdin=subprocess.PIPE, cwd=newcomer.directory, env=newcomer.environment(), text=True
        )

    def paste(self, line: str) -> tuple[int, str]:
        """The exit status, and what was printed."""
        assert self._bash.stdin is not None
        self._status.unlink(missing_ok=True)
        # The status is renamed into place: who sees it sees all of it.
        told = f"echo $? > {self._status}.part; mv {self._status}.part {self._status}"
        self._bash.stdin.write(f"{{\n{line}\n}} > {self._output} 2>&1 < /dev/null\n{told}\n")
        self._bash.stdin.flush()
        poll(self._status.exists, timeout=_LINE_SECONDS, what=f"{line} has ended")
        return int(self._status.read_text()), self._output.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """End the shell."""
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        self._bash.wait(10)


def _to_paste(path: Path) -> list[Example]:
    found = [example for example in examples(path) if example.needs is None]
    return [example for example in found if not example.line.startswith("make ")]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def newcomer(another, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """A system as `make run` starts it, the probe included, and somebody who reads about it."""
    with another(ANIMUSIC_PROBE__ENABLED="true") as system:
        yield Newcomer(system, Path(tmp_path_factory.mktemp("newcomer")))


@pytest.mark.parametrize("path", [path for path in documents() if _to_paste(path)], ids=_name)
def test_what_needs_nothing_but_a_new_system_works_when_pasted(newcomer, path, tmp_path) -> None:
    shell = Shell(newcomer, tmp_path)
    try:
        failed = [told for example in _to_paste(path) if (told := _pasted(newcomer, shell, example))]
    finally:
        shell.close()
    assert not failed, "\n\n".join(["say what these need (`# needs: …`), or mend them:", *failed])


def _pasted(newcomer: Newcomer, shell: Shell, example: Example) -> str | None:
    """Paste a line; what to say when it failed."""
    line = newcomer.line(example)
    if line in newcomer.pasted:
        return None
    newcomer.pasted.add(line)
    if any("--watch" in words or words[1:3] == ["models", "watch"] for words in commands(line)):
        return _until_ctrl_c(newcomer, example)
    status, printed = shell.paste(line)
    verbs = [words[1] for words in commands(line) if words[0] == "animusic"]
    if status and set(verbs) & set(_OF_HEALTH):
        poll(lambda: shell.paste(line)[0] == 0, timeout=_HEALTHY_SECONDS, interval=1, what=f"{example} ends with 0")
        return None
    if status or re.search(r"^Traceback", printed, re.MULTILINE):
        return f"{example}\nended with {status}:\n{printed[-2_000:]}"
    return None


def _until_ctrl_c(newcomer: Newcomer, example: Example) -> str | None:
    """Run a line that goes on for ever until it has printed something, and press Ctrl-C."""
    (words,) = commands(example.line)
    output = newcomer.directory / "for-ever"
    with output.open("wb") as file:
        process = subprocess.Popen(
            _as_on_a_terminal(animusic(*words[1:])), cwd=newcomer.directory, env=newcomer.environment(), stdout=file,
            stderr=file,
        )  # fmt: skip
    try:
        poll(lambda: output.stat().st_size > 0, timeout=60, what=f"{example} prints something")
        process.send_signal(signal.SIGINT)
        status = process.wait(30)
    finally:
        process.kill()
        process.wait()
    printed = output.read_text(encoding="utf-8", errors="replace")
    return None if status in _ENDED and "Traceback" not in printed else f"{example}\nended with {status}:\n{printed}"


def _as_on_a_terminal(command: list[str]) -> list[str]:
    """The command, ended by Ctrl-C also where the tests run in the background: children inherit that it is ignored."""
    heeding = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-c", heeding, *command]
