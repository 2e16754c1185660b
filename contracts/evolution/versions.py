"""Records of several schema versions in one topic: each is read by its own version's model, then lifted to the newest.

A record says its version in `schema`; one that says none is of version 1. Consumers only ever see the newest model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter
from pydantic_core import from_json

R = TypeVar("R")
# Records are written with their version first, so that twelve bytes tell it. Anything else is read twice.
_HEAD: Final = len(b'{"schema":1,')


@dataclass(frozen=True)
class Older:
    """A version that is no longer written.

    Attributes:
        reader: takes its records, and only them.
        upcast: what it said, as the next version says it. Pure, total over what `reader` takes: what the older version
            could not know becomes the value that means unknown, never a guess.
    """

    reader: TypeAdapter[Any]
    upcast: Callable[[Any], Any]


class NewerSchema(ValueError):
    """A record of a later version than this code knows. Nothing is wrong with it: it must wait for the upgrade.

    Never a reason for a dead letter: all records may be like it from now on.
    """

    def __init__(self, version: int, newest: int) -> None:
        super().__init__(
            f"schema version {version} is newer than what this program reads ({newest}): upgrade consumers first, "
            "then whatever writes records"
        )


class Versions(Generic[R]):
    """How the records of one topic are read, whichever version they are of.

    Args:
        newest: reads the version that is written now.
        older: versions 1, 2, … before it, in this order; the upcast of each gives the model of the next.
    """

    def __init__(self, newest: TypeAdapter[R], *older: Older) -> None:
        self.newest: Final = len(older) + 1
        self.adapters: Final[dict[int, TypeAdapter[Any]]] = {
            **{number: version.reader for number, version in enumerate(older, 1)},
            self.newest: newest,
        }
        self._readers: dict[int, Callable[[bytes], R]] = {self.newest: newest.validate_json}
        for number in range(1, self.newest):
            self._readers[number] = _lifting(older[number - 1 :])
        self._by_head = {b'{"schema":%d,' % number: read for number, read in self._readers.items()}

    def read(self, value: bytes) -> R:
        """The record as the newest version says it.

        Raises NewerSchema for a later version than the newest here, pydantic.ValidationError when it is no record of
        its version, or its version is none.
        """
        known = self._by_head.get(value[:_HEAD])
        return known(value) if known is not None else self._read_whole(value)

    def _read_whole(self, value: bytes) -> R:
        version = _version_of(value)
        if version is not None and version > self.newest:
            raise NewerSchema(version, self.newest)
        # What says no version that ever was is told so by the newest model.
        return self._readers.get(version or 0, self._readers[self.newest])(value)


def _lifting(versions: tuple[Older, ...]) -> Callable[[bytes], Any]:
    """Read by the first of these, then upcast by each."""
    read = versions[0].reader.validate_json
    upcasts = [version.upcast for version in versions]

    def lifted(value: bytes) -> Any:
        record = read(value)
        for upcast in upcasts:
            record = upcast(record)
        return record

    return lifted


def _version_of(value: bytes) -> int | None:
    """The version that a record says; None when it is no record at all, which any reader finds out by itself."""
    try:
        found = from_json(value)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    version = found.get("schema", 1)
    return version if type(version) is int else None
