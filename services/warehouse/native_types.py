"""How the values of a ClickHouse type lie in the Native format: enough to walk over them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

Shape = Literal["fixed", "text", "nullable", "array", "tuple", "dictionary"]


class Uneven(ValueError):
    """A type whose values have no form that is known here; its name is the message."""


@dataclass(frozen=True)
class Kind:
    """`width`: bytes of a value of fixed size. `parts`: the types inside, as a dictionary's keys."""

    shape: Shape
    width: int = 0
    parts: tuple["Kind", ...] = ()


_WIDTHS: Final = {
    **dict.fromkeys(("Int8", "UInt8", "Bool", "Enum8", "Nothing"), 1),
    **dict.fromkeys(("Int16", "UInt16", "BFloat16", "Date", "Enum16"), 2),
    **dict.fromkeys(("Int32", "UInt32", "Float32", "Date32", "DateTime", "Time", "IPv4", "Decimal32"), 4),
    **dict.fromkeys(("Int64", "UInt64", "Float64", "DateTime64", "Time64", "Decimal64"), 8),
    **dict.fromkeys(("Int128", "UInt128", "UUID", "IPv6", "Decimal128"), 16),
    **dict.fromkeys(("Int256", "UInt256", "Decimal256"), 32),
}
# Digits of a Decimal(P, S) -> bytes.
_DECIMALS: Final = ((9, 4), (18, 8), (38, 16), (76, 32))
_OTHER_NAMES: Final = {
    "Point": "Tuple(Float64, Float64)",
    "Ring": "Array(Point)",
    "LineString": "Array(Point)",
    "Polygon": "Array(Ring)",
    "MultiLineString": "Array(LineString)",
    "MultiPolygon": "Array(Polygon)",
}
_TYPE: Final = re.compile(r"\s*(\w+)\s*(?:\((.*)\))?\s*", re.DOTALL)
_NAMED: Final = re.compile(r"\s*(?:`(?:[^`\\]|\\.)*`|\w+)\s+(?=\w)", re.DOTALL)
_PIECE: Final = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|.", re.DOTALL)


@lru_cache(maxsize=1_000)
def kind_of(type_name: str) -> Kind:
    """The kind of a type by its name, such as `Map(String, Array(UInt8))`. Raises Uneven."""
    found = _TYPE.fullmatch(type_name)
    if found is None:
        raise Uneven(type_name)
    name, inside = found.group(1), found.group(2) or ""
    if name in _OTHER_NAMES:
        return kind_of(_OTHER_NAMES[name])
    width = _width(name, inside)
    return Kind("fixed", width) if width else _compound(name, list(_arguments(inside)))


def _width(name: str, inside: str) -> int:
    if name == "FixedString":
        return int(inside)
    if name == "Decimal":
        digits = int(inside.partition(",")[0])
        return next(width for most, width in _DECIMALS if digits <= most)
    return 8 if name.startswith("Interval") else _WIDTHS.get(name, 0)


def _compound(name: str, inside: list[str]) -> Kind:
    if name == "String":
        return Kind("text")
    if name == "Nullable":
        return Kind("nullable", parts=(kind_of(inside[0]),))
    if name == "Array":
        return Kind("array", parts=(kind_of(inside[0]),))
    if name == "SimpleAggregateFunction":
        return kind_of(inside[1])
    if name == "Map":
        return Kind("array", parts=(_tuple(inside),))
    if name == "Tuple" and inside:
        return _tuple([_without_name(part) for part in inside])
    if name == "Nested":
        return Kind("array", parts=(_tuple([_without_name(part) for part in inside]),))
    if name == "LowCardinality":
        keys = kind_of(inside[0])
        return Kind("dictionary", parts=(keys.parts[0] if keys.shape == "nullable" else keys,))
    raise Uneven(name)


def _tuple(inside: list[str]) -> Kind:
    return Kind("tuple", parts=tuple(kind_of(part) for part in inside))


def _without_name(part: str) -> str:
    """`a UInt8` -> `UInt8`: a tuple may name its parts."""
    named = _NAMED.match(part)
    return part[named.end() :] if named is not None else part


def _arguments(inside: str) -> Iterator[str]:
    """What lies between the commas that are in no inner brackets and in no name."""
    depth, argument = 0, ""
    for piece in _PIECE.findall(inside):
        depth += (piece == "(") - (piece == ")")
        if piece == "," and depth == 0:
            yield argument
            argument = ""
        else:
            argument += piece
    if argument.strip():
        yield argument
