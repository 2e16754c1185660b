"""A version 2 of feedback that no old record could pass for: a required field, and watching nested.

It shows what a real one will need: the model, an upcaster, and that every reader follows.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

from pydantic import AliasPath, BaseModel, ConfigDict, Field, TypeAdapter

from contracts.events import EVENT_VERSIONS, FeedbackEvent, Millis
from contracts.evolution.versions import Older, Versions


class Client(BaseModel):
    """What sent the event."""

    model_config = ConfigDict(frozen=True)

    version: str
    site: str


class FeedbackV2(FeedbackEvent):
    """Version 2: says which client, and where it watched; `watched` holds what were two fields."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    schema_: Annotated[Literal[2], Field(alias="schema")]  # type: ignore[assignment]
    client: Client
    watch_ms: Annotated[Millis | None, Field(validation_alias=AliasPath("watched", "ms"))] = None
    duration_ms: Annotated[
        Annotated[Millis, Field(gt=0)] | None, Field(validation_alias=AliasPath("watched", "of_ms"))
    ] = None


def upcast(old: FeedbackEvent) -> FeedbackV2:
    """What version 1 said, as version 2 says it."""
    fields = {name: getattr(old, name) for name in FeedbackEvent.model_fields if name != "schema_"}
    return FeedbackV2.model_validate({**fields, "schema": 2, "client": Client(version="unknown", site="unknown")})


def newer() -> Versions[FeedbackV2]:
    """Feedback as it would be read after the upgrade to version 2."""
    return Versions(TypeAdapter(FeedbackV2), Older(TypeAdapter(FeedbackEvent), upcast))


def v2_value(event: FeedbackEvent, version: str = "2.0.0") -> bytes:
    """The event as a system of version 2 would log it."""
    told = json.loads(event.log_value())
    watched = {"ms": told.pop("watch_ms", None), "of_ms": told.pop("duration_ms", None)}
    known = {name: value for name, value in watched.items() if value is not None}
    body = {**told, "client": {"version": version, "site": "youtube"}, **({"watched": known} if known else {})}
    return json.dumps({"schema": 2, **{k: v for k, v in body.items() if k != "schema"}}, separators=(",", ":")).encode()


@contextmanager
def upgraded() -> Iterator[None]:
    """Every reader of this process reads version 2, too, while the block runs."""
    before = dict(EVENT_VERSIONS.__dict__)
    EVENT_VERSIONS.__dict__.update(newer().__dict__)
    try:
        yield
    finally:
        EVENT_VERSIONS.__dict__.update(before)
