"""The one image: runs as nobody special, and copies what is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8")).splitlines()


def test_it_does_not_run_as_root() -> None:
    users = [line.split()[1] for line in LINES if line.startswith("USER ")]
    assert users == ["animusic"]


def test_packages_are_installed_by_hash() -> None:
    installs = [line for line in LINES if "pip install" in line]
    assert installs
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)


def test_everything_it_copies_exists_and_reaches_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = [source for line in LINES if line.startswith("COPY ") for source in line.split()[1:-1]]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert set(copied) == let_through
