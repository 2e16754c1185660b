"""From what a client posted to what the log keeps: the pure core of the gateway.

A client says what happened; who it was, when it arrived and which arm is to thank are stamped here. One bad event never
loses the others. Nothing here reads a clock or a store.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import orjson
from pydantic import TypeAdapter, ValidationError

from contracts.events import SCHEMA, ClientEvent, clock_refusal, first_error
from contracts.tokens import Signer, SlotClaim, TokenRefused

_EVENT: Final[TypeAdapter[ClientEvent]] = TypeAdapter(ClientEvent)
# The field at fault -> the code of the rejection; every other fault is `bad_value`.
_CODES: Final = {
    "kind": "unknown_kind",
    "schema": "unknown_schema",
    "occurred_at": "bad_time",
    "event_id": "bad_event_id",
    "": "incomplete",
}
_LONGEST_ECHO: Final = 64
_CLAIMS_REMEMBERED: Final = 20_000
# In the order of FeedbackEvent's fields.
_AS_GIVEN: Final = (
    "song_id", "anime_id", "play_id", "watch_ms", "played_ms", "duration_ms", "direction", "link", "rate", "muted",
    "hidden",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the gateway knows about a post: whose it is, when it arrived (ms), how old a slot token may be (ms)."""

    user_id: str
    received_at: int
    token_age_ms: int


@dataclass(frozen=True, slots=True)
class Vouched:
    """Who vouches for an event's arm. `arm` is set for a claim without a token (the paper's endpoints)."""

    attribution: str
    refusal: str | None = None
    claim: SlotClaim | None = None
    arm: str | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """An event that is not taken; `reason` is `code: sentence`."""

    event_id: str | None
    reason: str

    @property
    def code(self) -> str:
        """The part of the reason that never changes its wording."""
        return self.reason.partition(":")[0]


@dataclass(slots=True)
class Stamped:
    """A post, sorted: the log values of the accepted events in their order, and what was rejected."""

    values: list[bytes] = field(default_factory=list)
    events: list[ClientEvent] = field(default_factory=list)
    attributions: list[str] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)


NOBODY: Final = Vouched("none")


class Stamper:
    """Checks and stamps the events of posts. Holds the key of slot tokens."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        # A slot's token comes back with every event of its song, many times; refusals are not remembered.
        self._claim = lru_cache(maxsize=_CLAIMS_REMEMBERED)(self._read)

    def post(self, raw_events: Sequence[Any], stamp: Stamp) -> Stamped:
        """Every event of one post, each checked by itself."""
        result = Stamped()
        for raw in raw_events:
            try:
                event = _EVENT.validate_python(raw)
            except ValidationError as error:
                result.rejected.append(Rejection(_echo(raw), _reason(error)))
                continue
            voucher = NOBODY if event.slot_token is None else self._vouch(event.slot_token, event.song_id, stamp)
            self._take(event, voucher, stamp, result)
        return result

    def claimed(self, events: Sequence[ClientEvent], arm: str, stamp: Stamp) -> Stamped:
        """Events whose arm the client claims without a token: the paper's endpoints."""
        result = Stamped()
        for event in events:
            self._take(event, Vouched("claimed", arm=arm), stamp, result)
        return result

    def _take(self, event: ClientEvent, voucher: Vouched, stamp: Stamp, result: Stamped) -> None:
        issued_at = voucher.claim.issued_at if voucher.claim else None
        refusal = clock_refusal(event.occurred_at, stamp.received_at, issued_at)
        if refusal is not None:
            result.rejected.append(Rejection(str(event.event_id), refusal))
            return
        result.values.append(log_value(event, voucher, stamp))
        result.events.append(event)
        result.attributions.append(f"refused_{voucher.refusal}" if voucher.refusal else voucher.attribution)

    def _vouch(self, token: str, song_id: str | None, stamp: Stamp) -> Vouched:
        if song_id is None:
            return Vouched("refused", "no_song")
        try:
            claim = self._claim(token, stamp.user_id, song_id)
        except TokenRefused as refused:
            return Vouched("refused", str(refused))
        if stamp.received_at - claim.issued_at > stamp.token_age_ms:
            return Vouched("refused", "stale")
        return Vouched("slot", claim=claim)

    def _read(self, token: str, user_id: str, song_id: str) -> SlotClaim:
        """What a token vouches for, of whatever age: its age is asked at every event."""
        return self._signer.read_slot(token, user_id=user_id, song_id=song_id, now=0, max_age_ms=0)


def log_value(event: ClientEvent, voucher: Vouched, stamp: Stamp) -> bytes:
    """Exactly the bytes of `FeedbackEvent.log_value()`, without a second validation.

    Everything in them was checked as a ClientEvent or comes from a signed token; a property test holds the two equal.
    """
    given: dict[str, Any] = {**event.__dict__, **event.millis()}
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "event_id": event.event_id,
        "kind": event.kind,
        "user_id": stamp.user_id,
        "occurred_at": event.occurred_at,
        "received_at": stamp.received_at,
    }
    for name in _AS_GIVEN:
        value = given[name]
        if value is not None:
            fields[name] = value
    fields["attribution"] = voucher.attribution
    if voucher.claim is not None:
        _add_claim(fields, voucher.claim)
    elif voucher.arm is not None:
        fields["arm"] = voucher.arm
    elif voucher.refusal is not None:
        fields["refusal"] = voucher.refusal
    return orjson.dumps(fields)


def _add_claim(fields: dict[str, Any], claim: SlotClaim) -> None:
    fields["arm"] = claim.arm
    fields["playlist_id"] = claim.playlist_id
    fields["revision"] = claim.revision
    fields["slot"] = claim.slot
    fields["p_arm"] = claim.p_arm
    fields["p_song"] = claim.p_song
    if claim.model_version is not None:
        fields["model_version"] = claim.model_version
    fields["issued_at"] = claim.issued_at


def _reason(error: ValidationError) -> str:
    detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = str(detail["loc"][0]) if detail["loc"] else ""
    code = "missing" if detail["type"] == "missing" else _CODES.get(where, "bad_value")
    return f"{code}: {first_error(error)}"


def _echo(raw: Any) -> str | None:
    """The event's id as the client spelled it, so that it finds the event again; None for anything else."""
    given = raw.get("event_id") if isinstance(raw, dict) else None
    if not isinstance(given, str) or len(given) > _LONGEST_ECHO or not given.isascii():
        return None
    return given
