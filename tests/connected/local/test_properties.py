"""The properties writer against Java itself, which reads `java.security.properties` with java.util.Properties."""

import subprocess
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.local.processes.java import find_java, properties
from tests.support.names import EVERY_TRAP, TRAPS

INDENT = 8


def as_java_reads(text: str, directory: Path) -> dict[str, str]:
    """What java.util.Properties makes of `text`; names must begin with `animusic`."""
    file = directory / "some.properties"
    file.write_text(text, encoding="ascii")
    flags = [f"-Djava.security.properties={file}", "-XshowSettings:security:properties", "-Dstderr.encoding=UTF-8"]
    shown = subprocess.run(
        [find_java().executable, *flags, "-version"], capture_output=True, env={"LC_ALL": "C.UTF-8"}, check=True
    )
    lines = [line[INDENT:] for line in shown.stderr.decode("utf-8").split("\n")]
    return dict(line.split("=", 1) for line in lines if line.startswith("animusic"))


# Not what would end a line of what Java shows, and no half of a pair, which is no text.
letters = st.characters(exclude_categories=["Cs"], exclude_characters="\r\n")


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(letters, max_size=30), min_size=20, max_size=60))
def test_java_reads_what_was_written(tmp_path: Path, values: list[str]) -> None:
    written = {f"animusic.{number}": value for number, value in enumerate(values)}
    assert as_java_reads(properties(written), tmp_path) == written


def test_java_reads_every_path_and_names_with_signs(tmp_path: Path) -> None:
    # The bare names: Java shows what is longer than a line, and has a comma, on several.
    written = {f"animusic.{number}": name for number, name in enumerate((*TRAPS, EVERY_TRAP))} | {
        "animusic a:b#": " x "
    }
    assert as_java_reads(properties(written), tmp_path) == written
