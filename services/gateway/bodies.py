"""Bodies in: declared as JSON, no longer than the route takes, parsed once.

Routes declare their bodies as FastAPI routes do; `JsonRoute` is how they are read. A body that is read leniently is
declared with SkipValidation: FastAPI documents its model and hands over the JSON value, for `read_leniently`.
"""

import json
import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final, TypeVar

import orjson
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, SkipValidation, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from contracts.events import ClientEvent, first_error
from contracts.http import (
    MAX_BODY_BYTES,
    MAX_EVENTS,
    AnimeListBody,
    Body,
    EventsBody,
    PaperProfile,
    ScoreFormat,
    Username,
)
from services.gateway.problems import Refused
from services.gateway.reading import drop_invalid_fields

SMALL_BODY_BYTES: Final = 16 * 1024
# 20,000 entries, spelled out with blanks, stay below it.
LIST_BODY_BYTES: Final = 2 * 1024 * 1024
# A longer length needs no reading to be too large.
_LENGTH_DIGITS: Final = 18
# What Python and others write for a number that is none.
_NO_NUMBER: Final = re.compile(rb"NaN|Infinity")

_Model = TypeVar("_Model", bound=BaseModel)


class Events(EventsBody):
    """Events of one listener. Each is checked by itself: one bad event does not lose the others."""

    events: Annotated[list[SkipValidation[ClientEvent]], Field(min_length=1, max_length=MAX_EVENTS)]


class RawAnimeList(Body):
    """An AnimeListBody whose entries are read one by one."""

    entries: list[Any]
    score_format: ScoreFormat | None = None


class RawPaperProfile(BaseModel):
    """A PaperProfile whose ids are read one by one."""

    anilist_username: Username
    mal_ids: list[Any]


_MOST_BYTES: Final[dict[Any, int]] = {
    Events: MAX_BODY_BYTES,
    AnimeListBody: LIST_BODY_BYTES,
    PaperProfile: LIST_BODY_BYTES,
}


class JsonRoute(APIRoute):
    """A route whose body is JSON: 415, 413 and 400 as `read_body` and `parse_json` say, after 401 and 429."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, with a request that reads its body so."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        limit = _MOST_BYTES.get(self.body_field.field_info.annotation, SMALL_BODY_BYTES)

        async def handle_json(request: Request) -> Response:
            with_json = _JsonRequest(request, limit)
            try:
                return await handle(with_json)
            except RequestValidationError:
                if with_json.refused is not None:
                    raise with_json.refused from None
                raise

        return handle_json


class _JsonRequest(Request):
    """FastAPI reads a body before it asks who sends it. So a body that is refused counts as missing until then."""

    def __init__(self, request: Request, limit: int) -> None:
        super().__init__(request.scope, request.receive)
        self._limit = limit
        self._value: Any = None
        self.refused: Refused | None = None

    async def body(self) -> bytes:
        try:
            raw = await read_body(self, self._limit)
            self._value = parse_json(raw)
        except Refused as refused:
            self.refused = refused
            return b""
        return raw

    async def json(self) -> Any:
        return self._value


async def read_body(request: Request, limit: int) -> bytes:
    """The raw body. Raises Refused: 415 when not declared as JSON, 413 as soon as it is longer than `limit` bytes."""
    kind = request.headers.get("content-type", "")
    if kind != "application/json" and kind.partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "not_json", "send the body as JSON with Content-Type: application/json")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > _LENGTH_DIGITS or int(declared) > limit):
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
    except ClientDisconnect:
        raise Refused(400, "malformed", "the connection ended before the body did") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> Refused:
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


def read_leniently(model: type[_Model], value: Any, optional: frozenset[str] = frozenset()) -> tuple[_Model, list[str]]:
    """A JSON value as a model without those of the fields `beside` that cannot be read, and a sentence for each.

    Raises Refused 400 when something else is wrong.
    """
    try:
        return drop_invalid_fields(model, value, optional)
    except ValidationError as error:
        raise Refused(400, "malformed", first_error(error)) from None
