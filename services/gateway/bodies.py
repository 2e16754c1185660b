"""Bodies in: declared as JSON, no longer than the route takes, parsed once."""

import json
import re
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from contracts.events import first_error
from services.gateway.dropping import without_faults
from services.gateway.problems import Refused

SMALL_BODY_BYTES = 16 * 1024
# 20,000 entries, spelled out with blanks, stay below it.
LIST_BODY_BYTES = 2 * 1024 * 1024
# A longer length needs no reading to be too large.
_LENGTH_DIGITS: Final = 18
# What Python and others write for a number that is none.
_NO_NUMBER: Final = re.compile(rb"NaN|Infinity")

_Model = TypeVar("_Model", bound=BaseModel)


async def read_body(request: Request, limit: int) -> bytes:
    """The raw body. Raises Refused: 415 when not declared as JSON, 413 as soon as it is longer than `limit` bytes."""
    kind = request.headers.get("content-type", "")
    if kind != "application/json" and kind.partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "not_json", "send the body as JSON with Content-Type: application/json")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > _LENGTH_DIGITS or int(declared) > limit):
        raise too_large(limit)
    return await _read(request, limit)


async def _read(request: Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise too_large(limit)
            chunks.append(chunk)
    except ClientDisconnect:
        raise Refused(400, "malformed", "the connection ended before the body did") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def too_large(limit: int) -> Refused:
    """413 with what fits."""
    return Refused(413, "too_large", f"the body is over {limit:,} bytes; send it in smaller parts")


def parse_json(raw: bytes) -> Any:
    """The value of a JSON text. Raises Refused 400.

    NaN, Infinity and a number too large for a double (1e999) are read, although the first two are no JSON: many writers
    make them of a division by zero. A whole number of more digits than Python reads is infinite, too. Whoever takes
    such a number refuses or drops it by itself; the rest is not lost.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if not _NO_NUMBER.search(raw) and "infinity" not in str(error):
            raise Refused(400, "malformed", f"the body is no JSON: {error}") from None
    try:
        return json.loads(raw, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "malformed", f"the body is no JSON: {error}") from None


def _whole(digits: str) -> float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


async def read_model(request: Request, model: type[_Model], limit: int = SMALL_BODY_BYTES) -> _Model:
    """The body as a model. Raises Refused: 400 with where and what, 413, 415."""
    return as_model(model, parse_json(await read_body(request, limit)))


async def read_without(
    request: Request, model: type[_Model], beside: frozenset[str], limit: int = SMALL_BODY_BYTES
) -> tuple[_Model, list[str]]:
    """The body as a model, without those of the fields `beside` that cannot be read, and what is said of it.

    Raises Refused: 400 when something else is wrong, 413, 415.
    """
    value = parse_json(await read_body(request, limit))
    try:
        return without_faults(model, value, beside)
    except ValidationError as error:
        raise Refused(400, "malformed", first_error(error)) from None


def as_model(model: type[_Model], value: Any) -> _Model:
    """A parsed value as a model. Raises Refused 400 with where and what."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise Refused(400, "malformed", first_error(error)) from None
