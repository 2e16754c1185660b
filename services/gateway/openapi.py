"""What /docs and /openapi.json say of bodies that the routes read by themselves, with an example each.

The routes read raw bodies (limits while reading, one error contract, one parse), so FastAPI is told what they take.
"""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from contracts.events import ClientEvent
from contracts.http import (
    MAX_EVENTS,
    AnimeListBody,
    NewPlaylist,
    NewSession,
    PaperFeedback,
    PaperProfile,
    Problem,
    RestOfPlaylist,
)

_REF: Final = "#/components/schemas/{model}"
_BODIES: Final[tuple[type[BaseModel], ...]] = (
    AnimeListBody, ClientEvent, NewPlaylist, NewSession, PaperFeedback, PaperProfile, Problem, RestOfPlaylist,
)  # fmt: skip
_WHEN: Final = {
    400: "Malformed; the message says what",
    401: "No bearer token, or not a good one",
    404: "There is no such thing",
    413: "Too many bytes or events",
    415: "Not declared as JSON",
    429: "Too fast; wait for Retry-After",
    503: "The log or the recommender cannot answer now; wait for Retry-After",
}

EVENTS_EXAMPLE: Final[dict[str, Any]] = {
    "events": [
        {
            "event_id": "0198b0a4-6c5e-7d53-a9c2-0f2f8f0a7d11",
            "kind": "progress",
            "occurred_at": 1_790_000_000_000,
            "schema": 1,
            "song_id": "anidb-12345",
            "slot_token": "the slot_token of the slot",
            "play_id": "0198b0a4-1111-7d53-a9c2-0f2f8f0a7d11",
            "watch_seconds": 61.5,
            "played_seconds": 58.0,
            "duration_seconds": 90.0,
        }
    ]
}
LIST_EXAMPLE: Final[dict[str, Any]] = {"entries": [{"mal_id": 5114, "status": "completed", "score": 9}]}
PAPER_PROFILE_EXAMPLE: Final[dict[str, Any]] = {"anilist_username": "new", "mal_ids": [5114, 9253, 16498]}
PAPER_FEEDBACK_EXAMPLE: Final[dict[str, Any]] = {
    "anilist_username": "new",
    "song_id": "anidb-12345",
    "recommended_by": "TF-IDF",
    "watch_time": 61.5,
    "total_video_time": 90.0,
    "liked": True,
}
LIVE_EXAMPLE: Final = 'event: accepted\ndata: {"event_id":"0198…","kind":"liked","partition":3,"offset":17}\n\n'


def json_body(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """A required JSON body of a model."""
    return _required({"$ref": _REF.format(model=model.__name__)}, example)


def events_body(example: dict[str, Any]) -> dict[str, Any]:
    """The body of POST /v1/events: its model leaves the events open, since each is checked by itself."""
    items = {"$ref": _REF.format(model=ClientEvent.__name__)}
    events = {"type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": items}
    schema = {"type": "object", "required": ["events"], "additionalProperties": False, "properties": {"events": events}}
    return _required(schema, example)


def problems(statuses: tuple[int, ...]) -> dict[int | str, dict[str, Any]]:
    """The documented failures of a route."""
    return {status: {"model": Problem, "description": _WHEN[status]} for status in sorted(statuses)}


def documented(
    status: int,
    answer: type[BaseModel] | dict[str, Any],
    *,
    body: dict[str, Any] | None = None,
    fails: tuple[int, ...] = (),
    bearer: bool = True,
) -> dict[str, Any]:
    """The keyword arguments that document a route which answers with a raw Response."""
    good = answer if isinstance(answer, dict) else {"model": answer}
    extra: dict[str, Any] = {"security": [{"bearer": []}]} if bearer else {}
    if body is not None:
        extra["requestBody"] = body
    return {
        "status_code": status,
        "response_model": None,
        "responses": {status: {"description": "Done", **good}, **problems(fails)},
        "openapi_extra": extra,
    }


def describe(app: FastAPI) -> None:
    """Complete the app's OpenAPI with the bodies' schemas and the bearer."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            components = schema.setdefault("components", {})
            components["schemas"] = {**components.get("schemas", {}), **_body_schemas()}
            components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
            for name in ("HTTPValidationError", "ValidationError"):
                components["schemas"].pop(name, None)
            _forget_default_422(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _body_schemas() -> dict[str, Any]:
    _, definitions = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_REF)
    found: dict[str, Any] = definitions["$defs"]
    return found


def _forget_default_422(schema: dict[str, Any]) -> None:
    """FastAPI adds its own 422 to every route with a parameter; ours are 400, as Problem."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            content = operation["responses"].get("422", {}).get("content", {}).get("application/json", {})
            if content.get("schema", {}).get("$ref", "").endswith("HTTPValidationError"):
                del operation["responses"]["422"]


def _required(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}
