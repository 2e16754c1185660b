"""Rotates the logs of children: the current file and the one before it."""

import shutil
from pathlib import Path
from typing import Final

MOST_BYTES: Final = 20 << 20


def rotate(log: Path, most_bytes: int = MOST_BYTES) -> bool:
    """Move a log that grew past `most_bytes` to `<name>.1`; whether it was: on a full disk it stays.

    The child holds the file open for appending, so the content is copied and the file emptied: the next line goes to
    its start. A line that is written between the two is lost.
    """
    try:
        if log.stat().st_size <= most_bytes:
            return False
    except FileNotFoundError:
        return False
    older = log.with_suffix(".log.1")
    try:
        shutil.copyfile(log, older)
    except OSError:
        # No room for it: half a copy only takes what is left.
        older.unlink(missing_ok=True)
        return False
    with log.open("r+b") as file:
        file.truncate(0)
    return True


def tail(log: Path, most_bytes: int = 2_000) -> str:
    """The last lines of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            cut = file.tell() > most_bytes
            file.seek(max(0, file.tell() - most_bytes))
            text = file.read().decode("utf-8", "replace").strip()
            text = text.partition("\n")[2] if cut else text
    except OSError:
        text = ""
    return f"The end of its log, {log}:\n{text or '(empty)'}"


def last_sentence(log: Path) -> str:
    """The last error that an `animusic` command printed (services/cli/main.py); "" without one."""
    lines = tail(log).splitlines()[1:]
    line = next((line for line in reversed(lines) if line.startswith("animusic: ")), "")
    return line.removeprefix("animusic: ")
