"""The command in every locale, encoding and time zone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from services.local.parts import animusic
from tests.support.names import EVERY_TRAP

SURROUNDINGS = [
    {"LC_ALL": "C"},
    {"LC_ALL": "POSIX"},
    {"LC_ALL": "", "LANG": "xx_INVALID"},
    {"LC_ALL": "ja_JP.UTF-8"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"TZ": "Mars/Olympus_Mons"},
]
PRINTS = """
import sys, time
from services.cli.surroundings import normalise_environment
normalise_environment()
print(sys.getfilesystemencoding(), time.strftime("%Z"), time.localtime(0).tm_hour, chr(0x2713), flush=True)
"""


def environment(**variables: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANIMUSIC_", "LC_", "PYTHON"))}
    return {**clean, **variables}


@pytest.mark.parametrize("around", SURROUNDINGS, ids=lambda around: " ".join(f"{k}={v}" for k, v in around.items()))
def test_a_data_directory_is_spelled_the_normalise_environment(tmp_path: Path, around: dict[str, str]) -> None:
    named = tmp_path / EVERY_TRAP
    named.mkdir()
    told = environment(ANIMUSIC_DATA_DIR=str(named), **around)
    # A catalogue that cannot be read: the sentence names the file, which no terminal of ASCII can show.
    done = subprocess.run(animusic("catalogue", "import", str(named / "✓.csv")), env=told, capture_output=True)
    said = done.stderr.decode("utf-8")
    ascii_only = "PYTHONIOENCODING" in around
    shown = str(named / "✓.csv").encode("ascii", "backslashreplace").decode() if ascii_only else str(named / "✓.csv")
    assert (done.returncode, shown in said) == (1, True), said


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "Mars/Olympus_Mons", "EST5EDT"])
def test_a_command_lives_in_utc_and_utf8(zone: str) -> None:
    told = environment(TZ=zone, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", PRINTS], env=told, cwd=root, capture_output=True, check=True)
    assert done.stdout.decode("utf-8").split() == ["utf-8", "UTC", "0", "✓"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (b"a\nb", "line break"),
        (b"a?b", r"has a \? in it"),
        (b"M\xfcller", r"M\\xfcller is not UTF-8"),
    ],
)
def test_a_name_that_a_part_cannot_be_told_is_refused_by_name(tmp_path: Path, name: bytes, why: str) -> None:
    told = environment(ANIMUSIC_DATA_DIR=os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    done = subprocess.run(animusic("settings"), env=told, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 78
    assert "ANIMUSIC_DATA_DIR is not good" in done.stderr
    assert re.search(why, done.stderr)
    assert not list(tmp_path.iterdir())


def test_a_tilde_that_no_shell_replaced_is_the_home_directory(tmp_path: Path) -> None:
    told = environment(ANIMUSIC_DATA_DIR="~/kept here", HOME=str(tmp_path))
    done = subprocess.run(animusic("settings"), env=told, capture_output=True, text=True, encoding="utf-8")
    assert f"ANIMUSIC_DATA_DIR={tmp_path}/kept here" in done.stdout
