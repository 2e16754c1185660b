"""Turns posted events into records of the log: the core of the gateway. Pure: it reads no clock and no store.

A client says what happened; this module stamps the user, the time of arrival and the arm. A bad event does not affect
the others, a bad value does not lose its event (`reading`), and no event is later than its arrival (`times`).
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import orjson

from contracts.events import SCHEMA, ClientEvent
from contracts.tokens import SignedSlot, Signer, TokenRefused
from services.gateway.reading import UNKNOWN_MS, Rejection, UnreadableEvent, event_id_as_sent, read_event
from services.gateway.times import Times

_TOKENS_REMEMBERED: Final = 20_000
# A smaller clock difference gets no warning.
_WARN_AHEAD_MS: Final = 1_000
# Beyond this the warning only says `far`: a client may send any number of digits.
_FAR_AHEAD_MS: Final = 366 * 86_400_000
_BEFORE_TOKEN: Final = "before_token"
# In the order of FeedbackEvent's fields.
_COPIED_FIELDS: Final = (
    "song_id", "anime_id", "play_id", "watch_ms", "played_ms", "duration_ms", "direction", "link", "rate", "muted",
    "hidden",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the gateway knows about a post: its user, its arrival (ms), the maximum age of a slot token (ms)."""

    user_id: str
    received_at: int
    token_age_ms: int


@dataclass(frozen=True, slots=True)
class Attribution:
    """The arm of an event, and how it is known. `kind` is the log's `attribution`.

    slot: verified by a slot token, whose content is `signed_slot`. claimed: the client reported `arm` itself, without a
    token (the paper's endpoints). refused: the token was rejected; `refusal` says why. none: there is no token.
    """

    kind: str
    refusal: str | None = None
    signed_slot: SignedSlot | None = None
    arm: str | None = None


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning: a value of an accepted event was dropped or corrected. `reason` is `code: sentence`."""

    event_id: str | None
    reason: str

    @property
    def code(self) -> str:
        """The stable part of the reason."""
        return self.reason.partition(":")[0]


@dataclass(slots=True)
class Stamped:
    """A stamped post: the log values of the accepted events in their order, the rejections, the warnings.

    `received_at` (ms) is stamped on all values; no event is later.
    """

    received_at: int = 0
    values: list[bytes] = field(default_factory=list)
    events: list[ClientEvent] = field(default_factory=list)
    attributions: list[str] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)


SWAPPED: Final = "refused_swapped"
NO_ALIASES: Final[Mapping[str, Collection[str]]] = MappingProxyType({})
NO_TOKEN: Final = Attribution("none")
_UNREADABLE_TOKEN: Final = Attribution("refused", "malformed")


class Stamper:
    """Checks and stamps the events of posts. Holds the key of slot tokens, and the state of `Times`."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        # A slot's token comes with every event of its song. Errors are not cached.
        self._read_cached = lru_cache(maxsize=_TOKENS_REMEMBERED)(self._read)
        self._times = Times()

    def post(
        self, raw_events: Sequence[Any], stamp: Stamp, aliases: Mapping[str, Collection[str]] = NO_ALIASES
    ) -> Stamped:
        """Check and stamp every event of a post separately. Stamping a post again gives the same result.

        `aliases`: song id -> other ids of the song, under which a slot token may have been issued.
        """
        result = Stamped()
        attributions = []
        for raw in raw_events:
            try:
                reading = read_event(raw)
            except UnreadableEvent as unreadable:
                result.rejected.append(unreadable.rejection)
                continue
            event = reading.event
            attribution = _UNREADABLE_TOKEN if reading.without_token else self._attribute(event, stamp, aliases)
            result.events.append(event)
            attributions.append(attribution)
            for reason in (*reading.dropped, *_warnings(event, attribution, stamp.received_at)):
                result.warnings.append(Warned(event_id_as_sent(raw), reason))
        self._stamp(result, attributions, stamp)
        return result

    def self_reported(self, events: Sequence[ClientEvent], arm: str | None, stamp: Stamp) -> Stamped:
        """Events whose arm (None: it names none) the client reports without a token: the paper's endpoints."""
        result = Stamped(events=list(events))
        attribution = NO_TOKEN if arm is None else Attribution("claimed", arm=arm)
        self._stamp(result, [attribution] * len(events), stamp)
        return result

    def _stamp(self, result: Stamped, attributions: Sequence[Attribution], stamp: Stamp) -> None:
        times = self._times.settle(stamp.user_id, result.events, stamp.received_at)
        result.received_at = max(stamp.received_at, *times) if times else stamp.received_at
        arrived = replace(stamp, received_at=result.received_at)
        for event, attribution, occurred_at in zip(result.events, attributions, times, strict=True):
            result.values.append(log_value(event, attribution, arrived, occurred_at))
            result.attributions.append(f"refused_{attribution.refusal}" if attribution.refusal else attribution.kind)

    def _attribute(self, event: ClientEvent, stamp: Stamp, aliases: Mapping[str, Collection[str]]) -> Attribution:
        if event.slot_token is None:
            return NO_TOKEN
        if event.song_id is None:
            return Attribution("refused", "no_song")
        try:
            signed_slot = self._of_any(
                event.slot_token, stamp.user_id, (event.song_id, *aliases.get(event.song_id, ()))
            )
        except TokenRefused as refused:
            return Attribution("refused", str(refused))
        if stamp.received_at - signed_slot.issued_at > stamp.token_age_ms:
            return Attribution("refused", "stale")
        if event.occurred_at < signed_slot.issued_at:
            return Attribution("refused", _BEFORE_TOKEN)
        return Attribution("slot", signed_slot=signed_slot)

    def _of_any(self, token: str, user_id: str, song_ids: Sequence[str]) -> SignedSlot:
        """The content of a token for one of a song's ids. If none fits, raises the first id's TokenRefused."""
        for song_id in song_ids[1:]:
            with suppress(TokenRefused):
                return self._read_cached(token, user_id, song_id)
        return self._read_cached(token, user_id, song_ids[0])

    def _read(self, token: str, user_id: str, song_id: str) -> SignedSlot:
        """The content of a token of any age; the caller checks its age."""
        return self._signer.read_slot(token, user_id=user_id, song_id=song_id, now=0, max_age_ms=0)


def log_value(event: ClientEvent, attribution: Attribution, stamp: Stamp, occurred_at: int) -> bytes:
    """Exactly the bytes of `FeedbackEvent.log_value()`, without a second validation.

    Its values were checked as a ClientEvent or come from a signed token. A property test compares the two.
    """
    given: dict[str, Any] = {**event.__dict__, **event.millis()}
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "event_id": event.event_id,
        "kind": event.kind,
        "user_id": stamp.user_id,
        "occurred_at": occurred_at,
        "received_at": stamp.received_at,
    }
    for name in _COPIED_FIELDS:
        value = given[name]
        if value is not None:
            fields[name] = value
    fields["attribution"] = attribution.kind
    if attribution.signed_slot is not None:
        _add_signed_slot(fields, attribution.signed_slot)
    elif attribution.arm is not None:
        fields["arm"] = attribution.arm
    elif attribution.refusal is not None:
        fields["refusal"] = attribution.refusal
    return orjson.dumps(fields)


def _add_signed_slot(fields: dict[str, Any], signed_slot: SignedSlot) -> None:
    fields["arm"] = signed_slot.arm
    fields["playlist_id"] = signed_slot.playlist_id
    fields["revision"] = signed_slot.revision
    fields["slot"] = signed_slot.slot
    fields["p_arm"] = signed_slot.p_arm
    fields["p_song"] = signed_slot.p_song
    if signed_slot.model_version is not None:
        fields["model_version"] = signed_slot.model_version
    fields["issued_at"] = signed_slot.issued_at


def _warnings(event: ClientEvent, attribution: Attribution, now: int) -> list[str]:
    """Warnings about a readable event: a time ahead of the server's, its slot token."""
    warnings = []
    ahead = event.occurred_at - now
    if ahead > _WARN_AHEAD_MS and event.occurred_at != UNKNOWN_MS:
        by = "far" if ahead > _FAR_AHEAD_MS else f"{(ahead + 500) // 1000} s"
        warnings.append(
            f"clock_ahead: occurred_at is {by} ahead of the server, so its time is that of arrival; "
            "correct it by server_time"
        )
    if attribution.refusal == _BEFORE_TOKEN:
        warnings.append(
            "before_token: occurred_at lies before its slot_token was issued, so the event has no arm; "
            "correct it by server_time"
        )
    elif attribution.refusal is not None:
        warnings.append(f"token_refused: slot_token is not valid ({attribution.refusal}), so the event has no arm")
    return warnings
