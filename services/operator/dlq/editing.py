"""Small edits to the JSON of records. Pure; the result is checked elsewhere."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

Edit = Callable[[bytes | None], bytes | None]


class CannotEdit(ValueError):
    """A value cannot be edited in this way. `str()` says why, and what to do."""


def untouched(value: bytes | None) -> bytes | None:
    """The edit that changes nothing."""
    return value


def exactly(replacement: bytes) -> Edit:
    """The edit that replaces the whole value."""
    return lambda _value: replacement


def assignments(to_set: Sequence[str], to_unset: Sequence[str]) -> Edit:
    """The edit of `path=value` and `path` words: a path steps into objects and lists by dots (`slots.0.arm`).

    A value is JSON (`1`, `true`, `"text"`, `null`), and text where it is none. Without any words: `untouched`.
    Raises ValueError on a word that is no assignment.
    """
    if not to_set and not to_unset:
        return untouched
    parsed = [_assignment(word) for word in to_set]
    gone = [word.split(".") for word in to_unset]

    def edit(value: bytes | None) -> bytes:
        document = _object(value)
        for path, new in parsed:
            _put(document, path, new)
        for path in gone:
            _remove(document, path)
        return orjson.dumps(document)

    return edit


def _assignment(word: str) -> tuple[list[str], Any]:
    path, equals, value = word.partition("=")
    if not equals or not path:
        raise ValueError(f"{word!r} is not path=value; write it as in --set schema=1")
    try:
        return path.split("."), orjson.loads(value)
    except orjson.JSONDecodeError:
        return path.split("."), value


def _object(value: bytes | None) -> Any:
    try:
        document = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        raise CannotEdit("its value is not JSON, so no field can be set; give the whole value with --value") from None
    if not isinstance(document, dict):
        raise CannotEdit("its value is not a JSON object, so no field can be set; give the whole value with --value")
    return document


def _put(document: Any, path: list[str], new: Any) -> None:
    holder, at = _holder(document, path)
    if at is None:
        raise CannotEdit(f"it has no {'.'.join(path)} to set")
    holder[at] = new


def _remove(document: Any, path: list[str]) -> None:
    holder, at = _holder(document, path)
    if at is not None and (isinstance(holder, list) or at in holder):
        del holder[at]


def _holder(document: Any, path: list[str]) -> tuple[Any, Any]:
    """The container that a path leads to, and the key or index in it; None where there is no such place."""
    for step in path[:-1]:
        at = _index(document, step)
        document = None if at is None else document.get(at) if isinstance(document, dict) else document[at]
    return document, _index(document, path[-1])


def _index(holder: Any, step: str) -> Any:
    if isinstance(holder, dict):
        return step
    return int(step) if isinstance(holder, list) and step.isdecimal() and int(step) < len(holder) else None
