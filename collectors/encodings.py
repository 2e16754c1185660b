"""Which encoding some bytes look like: a guess for a sentence, never for reading.

Only the encodings that catalogues of Japanese songs come in are tried. Libraries that know all of them were tried on
files of a few rows, as people have them, and named a Korean or Icelandic one for Japanese and French text.
"""

import codecs
from collections.abc import Callable
from itertools import pairwise
from typing import Final

_SAMPLE_BYTES: Final = 200_000
_ENOUGH: Final = 0.6
_AS_GOOD: Final = 0.05
# Where so many characters are good UTF-8 for each byte that is none, the file is UTF-8 with damage.
_MOSTLY: Final = 4
_UTF_16_SHARE: Final = 0.2


def is_text_encoding(name: str) -> bool:
    """Whether Python can decode text with a codec of this name."""
    try:
        b"a".decode(name)
    except UnicodeError:
        return True
    except (LookupError, ValueError):
        return False
    return True


def by_byte_order_mark(data: bytes) -> str | None:
    """The encoding that a byte-order mark tells."""
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return None


def damaged_lines(data: bytes) -> list[int]:
    """The lines that are no UTF-8 in a file that is UTF-8 otherwise; empty when it seems to be another encoding."""
    text = data.decode("utf-8", "surrogateescape")
    bad = sum("\udc80" <= char <= "\udcff" for char in text)
    good = sum(char > "\x7f" for char in text) - bad
    if good < _MOSTLY * bad:
        return []
    lines = enumerate(text.split("\n"), 1)
    return [number for number, line in lines if any("\udc80" <= char <= "\udcff" for char in line)]


def guessed(data: bytes) -> list[str]:
    """The encodings that these bytes, which are no UTF-8, look like, the likeliest first; of those known, if any."""
    plain = posing_as_utf_8(data)
    if plain:
        return plain
    sample = b"\n".join(line for line in data.split(b"\n") if not line.isascii())[:_SAMPLE_BYTES]
    scores = {name: _score(sample, name, how) for name, how in _CANDIDATES.items()}
    best = max(scores.values())
    alike = [name for name, score in scores.items() if score >= max(_ENOUGH, best - _AS_GOOD)]
    return sorted(alike, key=lambda name: -scores[name])


def posing_as_utf_8(data: bytes) -> list[str]:
    """The encoding that these bytes look like, of those whose bytes are good UTF-8 as well: what they say is not."""
    if b"\0" in data and (wide := _utf_16_without_mark(data[:_SAMPLE_BYTES])):
        return wide
    return ["iso2022_jp"] if b"\x1b$" in data and _decoded(data, "iso2022_jp") is not None else []


def _utf_16_without_mark(data: bytes) -> list[str]:
    """ASCII in UTF-16 has a NUL as every second byte."""
    even, odd = data[::2].count(0), data[1::2].count(0)
    if max(even, odd) < _UTF_16_SHARE * len(data) / 2:
        return []
    name = "utf-16-be" if even > odd else "utf-16-le"
    return [name] if _decoded(data, name) is not None else []


def _decoded(sample: bytes, encoding: str) -> str | None:
    """The text; a character that the end of the sample cuts is left out."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(sample, final=len(sample) != _SAMPLE_BYTES)
    except UnicodeError:
        return None


def _score(sample: bytes, encoding: str, how: Callable[[str, str], float]) -> float:
    """How much of what is not ASCII looks as it does in texts of this encoding, 0 to 1."""
    text = _decoded(sample, encoding) or ""
    points = [how(before, char) for before, char in pairwise(" " + text) if char > "\x7f"]
    return sum(points) / len(points) if points else 0.0


def _frequent(encoding: str, *rows: tuple[int, int]) -> Callable[[str, str], float]:
    """One point for a character whose first byte lies in these rows: standards put what is used most together."""

    def points(_before: str, char: str) -> float:
        encoded = char.encode(encoding)
        return float(len(encoded) == 2 and any(first <= encoded[0] <= last for first, last in rows))

    return points


def _japanese(encoding: str, *rows: tuple[int, int]) -> Callable[[str, str], float]:
    frequent = _frequent(encoding, *rows)

    def points(before: str, char: str) -> float:
        return 1.0 if "\u3040" <= char <= "\u30ff" else 0.3 if "\uff61" <= char <= "\uff9f" else frequent(before, char)

    return points


def _latin(before: str, char: str) -> float:
    """Letters with accents stand beside plain ones; two in a row are seldom."""
    if char in "\u2018\u2019\u201c\u201d\u2013\u2014\u2026":
        return 1.0
    return float("\xc0" <= char <= "\xff" and char not in "\xd7\xf7" and before <= "\x7f")


def _cyrillic(before: str, char: str) -> float:
    """Words of small letters, with a capital in front at most."""
    cyrillic = "\u0400" <= char <= "\u045f"
    if not before.isalpha():
        return float(cyrillic)
    return float(cyrillic and before > "\x7f" and not (char.isupper() and before.islower()))


# The first of those that fit equally well is named.
_CANDIDATES: Final[dict[str, Callable[[str, str], float]]] = {
    "cp932": _japanese("cp932", (0x81, 0x97)),
    "euc_jp": _japanese("euc_jp", (0xA1, 0xCF)),
    "cp1252": _latin,
    "gb18030": _frequent("gb18030", (0xA1, 0xA3), (0xB0, 0xD7)),
    "big5": _frequent("big5", (0xA1, 0xC6)),
    "cp949": _frequent("cp949", (0xA1, 0xA1), (0xB0, 0xC8)),
    "cp1251": _cyrillic,
}
