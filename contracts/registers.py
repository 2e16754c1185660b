"""The registers of a profile: tuples merged by their lexicographic minimum or maximum.

Encodings are fixed-width and order-preserving (big-endian, unsigned), so encoded registers compare byte by byte
as the tuples do. The identity of `max` is all zero bytes, of `min` all 0xFF: an absent register. Hence
Redis compares bytes, ClickHouse keeps `SimpleAggregateFunction(min|max, Tuple(...))`, Python calls `min` and `max`.
"""

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

Direction = Literal["min", "max"]

# struct code -> (width in bytes, ClickHouse type)
_ENCODINGS: Final[dict[str, tuple[int, str]]] = {
    "B": (1, "UInt8"),
    "H": (2, "UInt16"),
    "I": (4, "UInt32"),
    "Q": (8, "UInt64"),
    "8s": (8, "FixedString(8)"),
    "16s": (16, "FixedString(16)"),
}


@dataclass(frozen=True)
class Register:
    """One register: its fields as (name, struct code), most significant first, and its direction."""

    name: str
    direction: Direction
    fields: tuple[tuple[str, str], ...]

    @cached_property
    def _struct(self) -> struct.Struct:
        return struct.Struct(">" + "".join(code for _, code in self.fields))

    @property
    def width(self) -> int:
        """Bytes of an encoded value."""
        return self._struct.size

    @cached_property
    def identity(self) -> bytes:
        """The encoding of an absent register: merging it changes nothing."""
        return (b"\x00" if self.direction == "max" else b"\xff") * self.width

    @property
    def clickhouse_type(self) -> str:
        """The aggregate column type that merges as this register does."""
        fields = ", ".join(f"{name} {_ENCODINGS[code][1]}" for name, code in self.fields)
        return f"SimpleAggregateFunction({self.direction}, Tuple({fields}))"

    def encode(self, *values: Any) -> bytes:
        """Pack one value a field. Raises struct.error when a number does not fit its width."""
        return self._struct.pack(*values)

    def decode(self, encoded: bytes) -> dict[str, Any] | None:
        """The fields by name, or None for an absent register."""
        if encoded == self.identity:
            return None
        return dict(zip((name for name, _ in self.fields), self._struct.unpack(encoded), strict=True))

    def merge(self, one: bytes, other: bytes) -> bytes:
        """The join of two encoded values: commutative, associative, idempotent."""
        return max(one, other) if self.direction == "max" else min(one, other)


_WHEN: Final = (("occurred_at", "Q"), ("event_id", "16s"))

WATCHED: Final = Register("watched", "max", (("ppm", "I"), ("watch_ms", "I"), ("duration_ms", "I")))
LIKED: Final = Register("liked", "max", (*_WHEN, ("value", "B")))
STARTED: Final = Register("started", "max", _WHEN)
SETTLED: Final = Register("settled", "max", _WHEN)
VETO: Final = Register("veto", "max", (*_WHEN, ("value", "B")))
PLAYED: Final = Register("played", "max", (("played_ms", "I"),))
FIRST_EXPOSURE: Final = Register(
    "first_exposure",
    "min",
    (
        *_WHEN,
        ("arm", "B"),
        ("playlist_id", "16s"),
        ("revision", "H"),
        ("slot", "B"),
        ("attribution", "B"),
        ("model_version", "8s"),
    ),
)

REGISTERS: Final[tuple[Register, ...]] = (WATCHED, LIKED, STARTED, SETTLED, VETO, PLAYED, FIRST_EXPOSURE)

# The registers of a (user, song) that serving reads, packed into one Redis value in this order.
SERVED: Final[tuple[Register, ...]] = (WATCHED, LIKED, STARTED, SETTLED)
SERVED_WIDTH: Final = sum(register.width for register in SERVED)
SERVED_IDENTITY: Final = b"".join(register.identity for register in SERVED)
_SERVED_SLICES: Final[dict[str, slice]] = {}
_at = 0
for _register in SERVED:
    _SERVED_SLICES[_register.name] = slice(_at, _at + _register.width)
    _at += _register.width
SERVED_SLICES: Final[dict[str, slice]] = _SERVED_SLICES


def merge_served(one: bytes, other: bytes) -> bytes:
    """Merge two packed (user, song) values, register by register. Both are SERVED_WIDTH bytes."""
    if one == other:
        return one
    return b"".join(max(one[s], other[s]) for s in SERVED_SLICES.values())
