"""Java's properties format, as `java.util.Properties` stores and loads it."""

from collections.abc import Mapping
from typing import Final

_NAMED: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
_SPECIAL: Final = frozenset("\\:=#!")


def properties(settings: Mapping[str, str]) -> str:
    """The text of a properties file. It is pure ASCII, so it reads the same in every encoding.

    Raises ValueError where a name or value holds a byte that is not UTF-8: Java has no way to write it.
    """
    return "".join(f"{_escaped(name, spaces=True)}={_value(value)}\n" for name, value in settings.items())


def _value(value: str) -> str:
    """Java skips the spaces before a value, and keeps those in it and behind it."""
    bare = value.lstrip(" ")
    return "\\ " * (len(value) - len(bare)) + _escaped(bare)


def _escaped(text: str, *, spaces: bool = False) -> str:
    return "".join("\\ " if spaces and letter == " " else _letter(letter) for letter in text)


def _letter(letter: str) -> str:
    if letter in _SPECIAL:
        return "\\" + letter
    if letter in _NAMED:
        return _NAMED[letter]
    return letter if " " <= letter <= "~" else _units(letter)


def _units(letter: str) -> str:
    r"""\uXXXX: Java's letters are UTF-16 units, so an emoji is two of them."""
    units = letter.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
