"""Lenient reading: valid values are kept, invalid ones are dropped with a warning.

An invalid optional value does not lose an event. Only its id, its kind, its song or anime, and a number for its time
must be readable.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from contracts.events import CONTRADICTION, EARLIEST_MS, ClientEvent, sentence

_EVENT: Final[TypeAdapter[ClientEvent]] = TypeAdapter(ClientEvent)
# Replaces an impossible time. It is later than any other, so it becomes the time of arrival.
UNKNOWN_MS: Final = 1 << 52
# The field at fault -> the code of the rejection; every other fault is `bad_value`.
_CODES: Final = {
    "kind": "unknown_kind",
    "schema": "unknown_schema",
    "occurred_at": "bad_time",
    "event_id": "bad_event_id",
    "": "incomplete",
}
# Optional, unless the event's kind needs them.
_OPTIONAL_FIELDS: Final = frozenset(
    {
        "slot_token", "play_id", "watch_seconds", "played_seconds", "duration_seconds", "direction", "link", "rate",
        "muted", "hidden", "song_id", "anime_id",
    }
)  # fmt: skip
_LONGEST_ECHO: Final = 64

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected event; `reason` is `code: sentence`."""

    event_id: str | None
    reason: str

    @property
    def code(self) -> str:
        """The stable part of the reason."""
        return self.reason.partition(":")[0]


class UnreadableEvent(Exception):
    """The event is unreadable and rejected."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.reason)
        self.rejection = rejection


@dataclass(frozen=True, slots=True)
class Reading:
    """An event, the warnings about dropped values (`code: sentence`), and whether its slot token was dropped."""

    event: ClientEvent
    dropped: tuple[str, ...] = ()
    without_token: bool = False


def read_event(raw: Any) -> Reading:
    """One event of a post, without invalid values. Raises UnreadableEvent."""
    try:
        return Reading(_EVENT.validate_python(raw))
    except ValidationError as error:
        return _salvage(raw, error)


def event_id_as_sent(raw: Any) -> str | None:
    """The event's id as the client sent it, so that the client recognises it; None if it is not a short string."""
    given = raw.get("event_id") if isinstance(raw, dict) else None
    if not isinstance(given, str) or len(given) > _LONGEST_ECHO or not given.isascii():
        return None
    return given


def _salvage(raw: Any, error: ValidationError) -> Reading:
    if not isinstance(raw, dict):
        raise _unreadable(raw, error)
    kept, dropped = _with_a_time(raw)
    first: ValidationError | None = None
    while True:
        try:
            event = _EVENT.validate_python(kept)
        except ValidationError as again:
            found = invalid_fields(again)
            first = first or again
            if not found.keys() <= _OPTIONAL_FIELDS & kept.keys():
                raise _unreadable(raw, first) from None
            dropped += sentences(found)
            kept = {name: value for name, value in kept.items() if name not in found}
        else:
            return Reading(event, tuple(dropped), "slot_token" in raw and "slot_token" not in kept)


def _with_a_time(raw: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The event with a time that the contract accepts, if it has any number, and the warnings about it."""
    at = _whole(raw.get("occurred_at"))
    if at is None:
        return dict(raw), []
    if at >= EARLIEST_MS:
        return {**raw, "occurred_at": at}, []
    why = "impossible_time: occurred_at lies before 2020, so its time is that of arrival; it is in milliseconds"
    return {**raw, "occurred_at": UNKNOWN_MS}, [why]


def _whole(value: Any) -> int | None:
    """A number, given as a number or a string, as an integer; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return int(value) if isinstance(value, int) else int(float(value))
    except (ValueError, OverflowError):
        return None


def _unreadable(raw: Any, error: ValidationError) -> UnreadableEvent:
    details = error.errors(include_url=False, include_input=False, include_context=False)
    needed = [detail for detail in details if not detail["loc"] or detail["loc"][0] not in _OPTIONAL_FIELDS]
    detail = (needed or details)[0]
    where = str(detail["loc"][0]) if detail["loc"] else ""
    code = "missing" if detail["type"] == "missing" else _CODES.get(where, "bad_value")
    code = "bad_value" if detail["type"] == CONTRADICTION else code
    return UnreadableEvent(Rejection(event_id_as_sent(raw), f"{code}: {sentence(detail)}"))


def invalid_fields(error: ValidationError) -> dict[str, str]:
    """Field -> its error. Times that contradict each other are both errors; "" stands for the whole event."""
    found: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        if detail["type"] == CONTRADICTION:
            found |= {"watch_seconds": detail["msg"], "duration_seconds": detail["msg"]}
        else:
            found.setdefault(str(detail["loc"][0]) if detail["loc"] else "", detail["msg"])
    return found


def sentences(found: dict[str, str]) -> list[str]:
    """The warnings about dropped values, `dropped: fields: why`: one for all fields with the same error."""
    fields: dict[str, list[str]] = {}
    for name, why in found.items():
        fields.setdefault(why, []).append(name)
    return [f"dropped: {', '.join(names)}: {why}" for why, names in fields.items()]


def drop_invalid_fields(model: type[_Model], value: Any, optional: frozenset[str]) -> tuple[_Model, list[str]]:
    """A parsed value as a model, without its invalid `optional` fields, and the warnings about these.

    Raises ValidationError if another field is invalid.
    """
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        found = invalid_fields(error)
        if not isinstance(value, dict) or not found.keys() <= optional & value.keys():
            raise
    kept = {name: each for name, each in value.items() if name not in found}
    return model.model_validate(kept), sentences(found)
