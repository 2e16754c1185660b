"""Records of several schema versions in one topic: each is read by the model of its version, then upcast to the newest.

The field `schema` holds the version; without it, the version is 1. Consumers only see the newest model.
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
    """A version that is not written any more.

    Attributes:
        reader: accepts exactly the records of this version.
        upcast: converts a record to the next version. Pure, and total over what `reader` accepts. A field that the
            older version did not have becomes the value for unknown, never a guess.
    """

    reader: TypeAdapter[Any]
    upcast: Callable[[Any], Any]


class NewerSchema(ValueError):
    """A record of a newer version than this program reads. The record is valid and must wait for the upgrade.

    It must not become a dead letter: all later records may have the same version.
    """

    def __init__(self, version: int, newest: int) -> None:
        super().__init__(
            f"schema version {version} is newer than what this program reads ({newest}): upgrade consumers first, "
            "then whatever writes records"
        )


class Versions(Generic[R]):
    """Reads the records of one topic, of any version.

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
        """The record as the newest model.

        Raises NewerSchema for a newer version than this program reads; pydantic.ValidationError for a record that does
        not match its version, or whose version is invalid.
        """
        known = self._by_head.get(value[:_HEAD])
        return known(value) if known is not None else self._read_whole(value)

    def _read_whole(self, value: bytes) -> R:
        version = _version_of(value)
        if version is not None and version > self.newest:
            raise NewerSchema(version, self.newest)
        # The newest model reports an invalid version.
        return self._readers.get(version or 0, self._readers[self.newest])(value)


def _lifting(versions: tuple[Older, ...]) -> Callable[[bytes], Any]:
    """A reader of the first of these versions that upcasts through all of them."""
    read = versions[0].reader.validate_json
    upcasts = [version.upcast for version in versions]

    def lifted(value: bytes) -> Any:
        record = read(value)
        for upcast in upcasts:
            record = upcast(record)
        return record

    return lifted


def _version_of(value: bytes) -> int | None:
    """A record's version; None if it has no valid one, which the readers report."""
    try:
        found = from_json(value)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    version = found.get("schema", 1)
    return version if type(version) is int else None
