"""The same command in every locale and time zone: file names and files are UTF-8, times are UTC."""

import io
import os
import sys
import time
from collections.abc import MutableMapping
from typing import Final

_UTF8_MODE: Final = "PYTHONUTF8"
_UTF8: Final = "utf-8"


def normalise_environment() -> None:
    """Settle time zone and encodings for this process and its children. Call it first.

    Where the locale would spell file names otherwise (de_DE.ISO-8859-1, or LC_ALL=C with PYTHONUTF8=0) the command
    begins anew, as the same process, in Python's UTF-8 mode.
    """
    ensure_utf8(os.environ, sys.getfilesystemencoding())
    # The zone of the machine would be in logs, in what is printed, and in every answer of the ClickHouse engine.
    os.environ["TZ"] = "UTC"
    time.tzset()
    for stream in (sys.stdout, sys.stderr):
        escape_unprintable(stream)


def ensure_utf8(environ: MutableMapping[str, str], spelled: str) -> None:
    """Begin anew in UTF-8 mode where names are `spelled` otherwise; children get that mode anyway."""
    already = environ.get(_UTF8_MODE) == "1"
    environ[_UTF8_MODE] = "1"
    # With `python -X utf8=0` it would begin anew for ever.
    if spelled.lower() != _UTF8 and not already:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def escape_unprintable(stream: object) -> None:
    """A ✓ on a terminal that cannot show it becomes \\u2713, and no error (PYTHONIOENCODING=ascii, a path of bytes)."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
