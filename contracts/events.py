"""Feedback events: as a client posts them (`ClientEvent`) and as the log keeps them (`FeedbackEvent`).

The gateway converts one into the other: it checks, converts seconds to whole milliseconds once, and stamps what a
client may not say about itself (user, arrival time, the slot that a valid token verifies).
"""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from contracts.evolution.versions import Versions

SCHEMA: Final = 1
Kind = Literal["shown", "started", "progress", "ended", "skipped", "liked", "unliked", "vetoed", "unvetoed"]
AttributionKind = Literal["slot", "claimed", "none", "refused"]
ArmName = Literal["mpnet", "minilm", "node2vec", "tfidf", "popular", "random"]

# 2020-01-01. No event is older: an older time is in the wrong unit, or its clock is wrong.
EARLIEST_MS: Final = 1_577_836_800_000
LONGEST_SECONDS: Final = 24 * 3600.0
# Players report a position slightly past the end. Beyond this, the two numbers belong to different videos.
OVERSHOOT_SECONDS: Final = 5.0
# Error type of an event whose two times contradict each other.
CONTRADICTION: Final = "contradiction"

ANIME_KINDS: Final = frozenset({"vetoed", "unvetoed"})
_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "progress": ("watch_seconds", "duration_seconds"),
    "skipped": ("direction",),
    "vetoed": ("anime_id",),
    "unvetoed": ("anime_id",),
}

Id = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-~]+$")]
Seconds = Annotated[float, Field(ge=0, le=LONGEST_SECONDS, allow_inf_nan=False)]
Millis = Annotated[int, Field(ge=0, le=0xFFFF_FFFF)]
ModelVersion = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class ClientEvent(BaseModel):
    """One event as a client posts it. Unknown fields are ignored, so that newer clients work.

    `occurred_at` is milliseconds since the epoch on the *server's* clock: when a client creates an event, it corrects
    its clock by the `server_time` of the last answer. `event_id` is any UUID; every retry sends the same one. The
    gateway drops a value that breaks these rules, if the event makes sense without it.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    event_id: UUID
    kind: Kind
    occurred_at: Annotated[int, Field(ge=EARLIEST_MS, strict=True)]
    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    song_id: Id | None = None
    slot_token: Annotated[str, Field(max_length=512)] | None = None
    play_id: UUID | None = None
    watch_seconds: Seconds | None = None
    played_seconds: Seconds | None = None
    duration_seconds: Annotated[Seconds, Field(gt=0)] | None = None
    direction: Literal["next", "prev"] | None = None
    link: Annotated[str, Field(max_length=200)] | None = None
    rate: Annotated[float, Field(gt=0, le=16, allow_inf_nan=False)] | None = None
    muted: bool | None = None
    hidden: bool | None = None
    anime_id: Id | None = None

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> "ClientEvent":
        for name in _NEEDS.get(self.kind, ()):
            if getattr(self, name) is None:
                raise ValueError(f"a {self.kind} event needs {name}")
        if self.kind not in ANIME_KINDS and self.song_id is None:
            raise ValueError(f"a {self.kind} event needs song_id")
        if self.watch_seconds is not None and self.duration_seconds is not None:
            if self.duration_seconds < 0.001:
                what = "duration_seconds is below a millisecond; leave it out if it is not known yet"
                raise PydanticCustomError(CONTRADICTION, what)
            if self.watch_seconds > self.duration_seconds + OVERSHOOT_SECONDS:
                what = "watch_seconds lies past duration_seconds; they must belong to one video"
                raise PydanticCustomError(CONTRADICTION, what)
        return self

    def millis(self) -> dict[str, int | None]:
        """Watched, played and whole duration as whole milliseconds; watched is at most the duration."""
        duration = None if self.duration_seconds is None else max(1, round(self.duration_seconds * 1000))
        watch = None if self.watch_seconds is None else round(self.watch_seconds * 1000)
        if watch is not None and duration is not None:
            watch = min(watch, duration)
        played = None if self.played_seconds is None else round(self.played_seconds * 1000)
        return {"watch_ms": watch, "duration_ms": duration, "played_ms": played}


class FeedbackEvent(BaseModel):
    """One event as `animusic.feedback.v1` keeps it: immutable.

    `attribution` says how the arm is known. `slot`: verified by a slot token. `claimed`: self-reported by a client of
    the paper's endpoints. `none`: not known. `refused`: the token was rejected, `refusal` says why. Only the first two
    have an arm. The fold does not use `received_at`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    event_id: UUID
    kind: Kind
    user_id: Id
    occurred_at: Annotated[int, Field(ge=EARLIEST_MS, le=1 << 52)]
    received_at: Annotated[int, Field(ge=EARLIEST_MS, le=1 << 52)]
    song_id: Id | None = None
    anime_id: Id | None = None
    play_id: UUID | None = None
    watch_ms: Millis | None = None
    played_ms: Millis | None = None
    duration_ms: Annotated[Millis, Field(gt=0)] | None = None
    direction: Literal["next", "prev"] | None = None
    link: Annotated[str, Field(max_length=200)] | None = None
    rate: Annotated[float, Field(allow_inf_nan=False)] | None = None
    muted: bool | None = None
    hidden: bool | None = None
    attribution: AttributionKind = "none"
    refusal: str | None = None
    arm: ArmName | None = None
    playlist_id: UUID | None = None
    revision: Annotated[int, Field(ge=0, le=0xFFFF)] | None = None
    slot: Annotated[int, Field(ge=0, le=0xFF)] | None = None
    p_arm: Annotated[float, Field(ge=0, le=1)] | None = None
    p_song: Annotated[float, Field(ge=0, le=1)] | None = None
    model_version: ModelVersion | None = None
    issued_at: int | None = None

    @model_validator(mode="after")
    def _is_about_something(self) -> "FeedbackEvent":
        if self.kind in ANIME_KINDS:
            if self.anime_id is None:
                raise ValueError(f"a {self.kind} event needs anime_id")
        elif self.song_id is None:
            raise ValueError(f"a {self.kind} event needs song_id")
        if (self.arm is None) != (self.attribution not in ("slot", "claimed")):
            raise ValueError("an event has an arm exactly when its attribution is slot or claimed")
        return self

    def log_value(self) -> bytes:
        """The record value: compact JSON without the absent fields."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


# A breaking change of FeedbackEvent needs a new version: the present model becomes an `Older` here, with an upcaster.
EVENT_VERSIONS: Final[Versions[FeedbackEvent]] = Versions(TypeAdapter(FeedbackEvent))
# Reads an event of any version as the newest model. Raises pydantic.ValidationError; `first_error` describes it.
read_event: Final = EVENT_VERSIONS.read


def first_error(error: Any) -> str:
    """One sentence from a pydantic ValidationError: where and what, without the input."""
    return sentence(error.errors(include_url=False, include_input=False, include_context=False)[0])


def sentence(detail: Any) -> str:
    """One error of a pydantic ValidationError in words: where and what."""
    where = ".".join(str(part) for part in detail["loc"])
    return f"{where}: {detail['msg']}" if where else str(detail["msg"]).removeprefix("Value error, ")
