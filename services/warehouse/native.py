"""The Native format as clients of ClickHouse's newer protocol read it (clickhouse-go, and with it Grafana over HTTP).

They send `client_protocol_version`, and expect eight bytes of block info before each block, and before the values of
each column a byte that says whether they are written in some special way. The engine in this process writes neither,
and has no setting for it. So the columns of a result are walked over to find where they begin and end.
"""

from collections.abc import Iterator
from typing import Final

from services.warehouse.native_types import Kind, Uneven, kind_of

# The first version whose clients expect both. Older ones (clickhouse-connect asks for 54405) find out what they get.
FIRST_VERSION: Final = 54_454
# Field 1: no overflow of GROUP BY. Field 2: bucket -1, so none. Field 0: the end.
_BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"
_NOT_SPECIAL: Final = b"\x00"
_WORD: Final = 8
# LowCardinality: the two low bytes of its flags say how wide its indexes are, the others whether it has its keys.
_INDEX_WIDTHS: Final = (1, 2, 4, 8)
_HAS_KEYS: Final = 1 << 9


def wants_block_info(version: str) -> bool:
    """Whether a client with this `client_protocol_version` reads block info and the byte before each column."""
    return version.isdecimal() and int(version) >= FIRST_VERSION


def with_block_info(body: bytes) -> bytes:
    """A result in the Native format, as these clients read it.

    Raises ValueError, which names the column and what to do, for a type whose values cannot be walked over.
    """
    return b"".join(_pieces(body))


def _pieces(body: bytes) -> Iterator[bytes]:
    reader, copied = _Reader(body), 0
    while reader.at < len(body):
        yield _BLOCK_INFO
        columns, rows = reader.number(), reader.number()
        for _ in range(columns):
            name, type_name = reader.text(), reader.text()
            yield body[copied : reader.at]
            copied = reader.at
            yield _NOT_SPECIAL
            if rows:
                reader.skip_column(_kind(name, type_name), rows)
        yield body[copied : reader.at]
        copied = reader.at


def _kind(name: str, type_name: str) -> Kind:
    try:
        return kind_of(type_name)
    except Uneven as error:
        raise ValueError(
            f"the column {name} is of the type {type_name}, and {error} cannot be sent to this client in the Native "
            "format; convert it, for example with toString(), or ask for another format"
        ) from None


class _Reader:
    """A place in a result, and ways to go on from it."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.at = 0

    def number(self) -> int:
        """A number of seven bits a byte, the lowest first."""
        value = shift = 0
        while True:
            byte = self._body[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def text(self) -> str:
        """A string with its length before it."""
        size = self.text_size()
        return self._body[self.at - size : self.at].decode("utf-8", "replace")

    def text_size(self) -> int:
        """Go behind a string; the bytes that it has."""
        size = self.number()
        self.at += size
        return size

    def skip_column(self, kind: Kind, rows: int) -> None:
        """Go behind the values of a column."""
        self._skip_prefixes(kind)
        self._skip(kind, rows)

    def _word(self) -> int:
        self.at += _WORD
        return int.from_bytes(self._body[self.at - _WORD : self.at], "little")

    def _skip_prefixes(self, kind: Kind) -> None:
        """Every LowCardinality in a type has a word before all values."""
        self.at += _WORD * (kind.shape == "dictionary")
        for part in kind.parts if kind.shape != "dictionary" else ():
            self._skip_prefixes(part)

    def _skip(self, kind: Kind, rows: int) -> None:
        if kind.shape == "fixed":
            self.at += kind.width * rows
        elif kind.shape == "text":
            for _ in range(rows):
                self.text_size()
        elif kind.shape == "nullable":
            self.at += rows
            self._skip(kind.parts[0], rows)
        elif kind.shape == "tuple":
            for part in kind.parts:
                self._skip(part, rows)
        elif kind.shape == "array":
            self._skip_array(kind.parts[0], rows)
        elif rows:
            self._skip_dictionary(kind.parts[0])

    def _skip_array(self, items: Kind, rows: int) -> None:
        if rows:
            self.at += _WORD * (rows - 1)
            self._skip(items, self._word())

    def _skip_dictionary(self, keys: Kind) -> None:
        flags = self._word()
        if flags & _HAS_KEYS:
            self._skip(keys, self._word())
        indexes = self._word()
        self.at += _INDEX_WIDTHS[flags & 0xFF] * indexes
