"""The text of a catalogue file: unpacked, and decoded without losing a character, or not at all."""

import codecs
import gzip
import zlib
from pathlib import Path
from typing import Final

from collectors.encodings import by_byte_order_mark, damaged_lines, guessed, is_text_encoding, posing_as_utf_8

_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_PIECE: Final = 1 << 20
_LINES_SAID: Final = 10
_NO_CHANCE: Final = 8


def read_text(path: Path, encoding: str | None = None) -> str:
    """The whole text, plain or gzip: in `encoding`, else as a byte-order mark says, else UTF-8. A mark is taken away.

    Raises FileNotFoundError, and ValueError with a sentence when the file is damaged or is not in that encoding.
    """
    if encoding is not None and not is_text_encoding(encoding):
        raise ValueError(
            f"Python knows no encoding of text named {encoding!r}; cp932, euc_jp, cp1252 and utf-16-le are some"
        )
    data = _unpacked(path)
    if data.startswith(_ZIP):
        raise ValueError(f"{path} is a ZIP archive or an Excel workbook: unpack it, or save it as CSV")
    return (_plain(path, data) if encoding is None else _named(path, data, encoding)).removeprefix("\ufeff")


def _unpacked(path: Path) -> bytes:
    with path.open("rb") as raw:
        zipped = raw.read(2) == _GZIP
        raw.seek(0)
        if not zipped:
            return raw.read()
        unpacked = bytearray()
        try:
            with gzip.GzipFile(fileobj=raw) as file:
                while piece := file.read(_PIECE):
                    unpacked += piece
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"{path} is damaged: it can be unpacked up to line {unpacked.count(10) + 1} at most ({error}). Nothing "
                "was read of the file; get it again"
            ) from error
    return bytes(unpacked)


def _named(path: Path, data: bytes, encoding: str) -> str:
    if not codecs.lookup(encoding).name.startswith("utf") and _is_utf_8(data):
        # An encoding of single bytes reads anything, as other characters.
        raise ValueError(f"{path} is UTF-8, and not {encoding}: leave `--encoding` out. Nothing was read of the file")
    try:
        return data.decode(encoding)
    except UnicodeError as error:
        raise ValueError(_wrong(path, data, encoding, error)) from error


def _is_utf_8(data: bytes) -> bool:
    """Whether this is UTF-8 by more than chance."""
    try:
        return sum(char > "\x7f" for char in data.decode("utf-8")) >= _NO_CHANCE
    except UnicodeDecodeError:
        return False


def _plain(path: Path, data: bytes) -> str:
    marked = by_byte_order_mark(data)
    if marked is not None:
        return _named(path, data, marked)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        lines = damaged_lines(data)
        if not lines:
            raise ValueError(_wrong(path, data, "UTF-8", error)) from error
        where = f"line{'s' * (len(lines) > 1)} {_listed(lines)}"
        raise ValueError(f"{path} is UTF-8, but not in {where}: repair them. Nothing was read of the file") from error
    if posing_as_utf_8(data):
        raise ValueError(_wrong(path, data, "UTF-8"))
    return text


def _wrong(path: Path, data: bytes, encoding: str, error: UnicodeError | None = None) -> str:
    """That the file is not in this encoding, what to do, and the first line that shows it."""
    names = [name for name in guessed(data) if name != encoding]
    looks = f" (it looks like {' or '.join(names[:2])})" if names else ""
    do = f"pass `--encoding {names[0]}`" if names else "find out how it was saved, and pass that: `--encoding NAME`"
    where = data.count(b"\n", 0, error.start) + 1 if isinstance(error, UnicodeDecodeError) else 1
    return f"{path} is not {encoding}{looks}: {do}. Line {where} shows it first; nothing was read of the file"


def _listed(lines: list[int]) -> str:
    return ", ".join(map(str, lines[:_LINES_SAID])) + (" …" if len(lines) > _LINES_SAID else "")
