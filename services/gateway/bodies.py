"""Bodies in: declared as JSON, no longer than the route takes, parsed once."""

import json
from typing import Any, NoReturn, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from contracts.events import first_error
from services.gateway.problems import Refused

SMALL_BODY_BYTES = 16 * 1024
# 20,000 entries, spelled out with blanks, stay below it.
LIST_BODY_BYTES = 2 * 1024 * 1024

_Model = TypeVar("_Model", bound=BaseModel)


async def read_body(request: Request, limit: int) -> bytes:
    """The raw body. Raises Refused: 415 when not declared as JSON, 413 as soon as it is longer than `limit` bytes."""
    kind = request.headers.get("content-type", "")
    if kind != "application/json" and kind.partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "not_json", "send the body as JSON with Content-Type: application/json")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
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
    """The value of a JSON text. Raises Refused 400; NaN and Infinity are no JSON.

    A number too large for a double (1e999) is JSON, and becomes infinite: whoever takes it refuses it by itself.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if "infinity" not in str(error):
            raise Refused(400, "malformed", f"the body is no JSON: {error}") from None
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "malformed", f"the body is no JSON: {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


async def read_model(request: Request, model: type[_Model], limit: int = SMALL_BODY_BYTES) -> _Model:
    """The body as a model. Raises Refused: 400 with where and what, 413, 415."""
    return as_model(model, parse_json(await read_body(request, limit)))


def as_model(model: type[_Model], value: Any) -> _Model:
    """A parsed value as a model. Raises Refused 400 with where and what."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise Refused(400, "malformed", first_error(error)) from None
