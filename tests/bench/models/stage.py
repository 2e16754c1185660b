"""What the sections share: jobs in processes of their own, with what each cost."""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.common.settings import REPO_ROOT
from tests.bench.machine import MIB, Cost, run_measured
from tests.bench.report import say

SONGS = 14_885
LIMIT_BYTES = 2 << 30
_PINS = REPO_ROOT / "requirements" / "bench.txt"


@dataclass(frozen=True)
class Seen:
    """What a job cost: `seconds` and `cpu_seconds` of the step, `process` with the start of Python and imports."""

    seconds: float
    cpu_seconds: float
    process: Cost

    @property
    def peak(self) -> str:
        """The largest resident memory of the process."""
        return f"{self.process.peak_bytes / MIB:,.0f} MB"


@dataclass(frozen=True)
class Stage:
    """Where jobs keep what they make, and how much is measured."""

    directory: Path
    quick: bool
    scale: Sequence[int]

    def job(self, *arguments: str | Path) -> Seen:
        """Run a step of `tests.bench.models.job`. Raises RuntimeError with its words when it fails."""
        result = self.directory / "result.json"
        command = [sys.executable, "-m", "tests.bench.models.job", str(result), *map(str, arguments)]
        cost = run_measured(command, _environment(), self.directory)
        told = json.loads(result.read_text())
        return Seen(told["seconds"], told["cpu_seconds"], cost)

    def vectors(self, arm: str, songs: int, *options: str) -> tuple[Seen, Path]:
        """Build an arm's vectors of a made-up catalogue; what it cost, and the file that holds them."""
        file = self.directory / f"{arm}-{songs}{''.join(options).replace('--', '-')}.npz"
        say(f"{songs:,} songs: {' '.join([arm, *options])}")
        return self.job("vectors", arm, str(songs), file, *options), file

    def index(self, file: Path) -> Seen:
        """Make a shard of vectors, open it, ask it once; it is removed."""
        directory = self.directory / "shard"
        try:
            return self.job("index", file, directory)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def original(self) -> Path:
        """The interpreter of an environment with PyPI `node2vec`, made for this run: its pins are not ours.

        Raises RuntimeError when it cannot be installed.
        """
        python = self.directory / "original" / "bin" / "python"
        if not python.exists():
            say("installing PyPI node2vec into an environment of its own")
            venv.create(self.directory / "original", with_pip=True)
            command = [str(python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--require-hashes"]
            done = subprocess.run([*command, "-r", str(_PINS)], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"PyPI node2vec cannot be installed (it needs numpy 1):\n{done.stderr[-1000:]}")
        return python


def _environment() -> dict[str, str]:
    """Jobs import from the repository, and settings of this shell are not theirs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANIMUSIC_")}
    return {**kept, "PYTHONPATH": str(REPO_ROOT)}
