"""The environment of a child process: the same on every machine, whatever its locale and time zone.

Java spells file names by the locale: under LC_ALL=C it writes `?` for every letter beyond ASCII. So it is given a
UTF-8 locale. Times are UTC in every log.
"""

import ctypes
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from services.local.errors import NoUtf8Locale

TIME_ZONE: Final = "UTC"
# glibc has the first since 2.35, and Debian, Fedora and musl have had it for long; older systems have the last.
_UTF8_LOCALES: Final = ("C.UTF-8", "C.utf8", "en_US.UTF-8", "en_US.utf8")
_LC_CTYPE_MASK: Final = 1
_DECIDE_LOCALE: Final = ("LC_ALL", "LC_CTYPE", "LANG")


def settled(
    environ: Mapping[str, str], *paths: object, installed: Callable[[str], bool] | None = None
) -> dict[str, str]:
    """`environ` with a UTF-8 locale and UTC.

    `paths` are those that the child will open. Raises NoUtf8Locale where one of them has letters beyond ASCII and the
    machine has no UTF-8 locale. `installed` says whether a locale is installed.
    """
    child_env = {**environ, "TZ": TIME_ZONE}
    # On macOS file names are UTF-8 in every locale.
    if sys.platform != "linux":
        return child_env
    found = next((name for name in _UTF8_LOCALES if (installed or is_installed)(name)), None)
    if found is not None:
        return {**child_env, "LC_ALL": found}
    beyond = next((str(path) for path in paths if not str(path).isascii()), None)
    if beyond is not None:
        raise NoUtf8Locale(_sentence(environ, beyond))
    return child_env


@cache
def is_installed(name: str) -> bool:
    """Whether the C library has this locale. Asked without changing the locale of this process."""
    libc = ctypes.CDLL(None)
    libc.newlocale.restype = ctypes.c_void_p
    libc.newlocale.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    libc.freelocale.argtypes = (ctypes.c_void_p,)
    made = libc.newlocale(_LC_CTYPE_MASK, name.encode("ascii"), None)
    if made is not None:
        libc.freelocale(made)
    return made is not None


def _sentence(environ: Mapping[str, str], path: str) -> str:
    given = next((f"{name}={environ[name]}" for name in _DECIDE_LOCALE if environ.get(name)), "none is set")
    return (
        f"Kafka cannot open {path} on this machine: Java spells file names by the locale ({given}), and no UTF-8 "
        f"locale is installed (looked for {', '.join(_UTF8_LOCALES)}). Install one (Debian: apt install locales, then "
        "locale-gen en_US.UTF-8), or set ANIMUSIC_DATA_DIR to a path of ASCII letters."
    )
