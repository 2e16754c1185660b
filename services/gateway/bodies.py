"""Request bodies: declared as JSON, limited in length, parsed once.

Routes declare their bodies as FastAPI routes do; `JsonRoute` reads them. A body that is read leniently is
declared with SkipValidation: FastAPI then documents the model and passes the JSON value, for `read_leniently`.
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
# 20,000 formatted entries fit.
LIST_BODY_BYTES: Final = 2 * 1024 * 1024
# A Content-Length with more digits is too large in any case.
_LENGTH_DIGITS: Final = 18
# JSON extensions that Python and others write for non-finite numbers.
_NO_NUMBER: Final = re.compile(rb"NaN|Infinity")

_Model = TypeVar("_Model", bound=BaseModel)


class Events(EventsBody):
    """Events of one listener. Each is checked separately; a bad one does not affect the others."""

    events: Annotated[list[SkipValidation[ClientEvent]], Field(min_length=1, max_length=MAX_EVENTS)]


class RawAnimeList(Body):
    """An AnimeListBody whose entries are not validated yet."""

    entries: list[Any]
    score_format: ScoreFormat | None = None


class RawPaperProfile(BaseModel):
    """A PaperProfile whose ids are not validated yet."""

    anilist_username: Username
    mal_ids: list[Any]


_MOST_BYTES: Final[dict[Any, int]] = {
    Events: MAX_BODY_BYTES,
    AnimeListBody: LIST_BODY_BYTES,
    PaperProfile: LIST_BODY_BYTES,
}


class JsonRoute(APIRoute):
    """A route with a JSON body. It answers 415, 413 or 400 (see `read_body`, `parse_json`) after 401 and 429."""

    def __init__(self, path: str, endpoint: Callable[..., Any], *, summary: str | None = None, **options: Any) -> None:
        """As FastAPI's. The summary is the first sentence of the endpoint's docstring, not the function's name."""
        first = (endpoint.__doc__ or "").strip().partition("\n")[0].partition(". ")[0].rstrip(".")
        super().__init__(path, endpoint, summary=summary or first or None, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, with a request that limits and parses its body."""
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
    """FastAPI reads the body before it authenticates. So a rejected body is kept back as missing until then."""

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
    """The raw body. Raises Refused: 415 if it is not declared as JSON, 413 once it exceeds `limit` bytes."""
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
        raise Refused(
            400, "malformed", "the connection ended before the whole body arrived; send the request again"
        ) from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> Refused:
    return Refused(413, "too_large", f"the body is over {limit:,} bytes; send it in smaller parts")


def parse_json(raw: bytes) -> Any:
    """The value of a JSON text. Raises Refused 400.

    NaN, Infinity and numbers too large for a double (1e999) are accepted, although the first two are not JSON: many
    writers produce them by a division by zero. An integer with more digits than Python reads becomes infinite. The
    validation of the field rejects or drops such a number; the rest of the body is kept.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if not _NO_NUMBER.search(raw) and "infinity" not in str(error):
            raise Refused(400, "malformed", f"the body is not JSON: {error}") from None
    try:
        return json.loads(raw, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "malformed", f"the body is not JSON: {error}") from None


def _whole(digits: str) -> float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def read_leniently(model: type[_Model], value: Any, optional: frozenset[str] = frozenset()) -> tuple[_Model, list[str]]:
    """A JSON value as a model, without invalid `optional` fields, and a warning for each of these.

    Raises Refused 400 if another field is invalid.
    """
    try:
        return drop_invalid_fields(model, value, optional)
    except ValidationError as error:
        raise Refused(400, "malformed", first_error(error)) from None
