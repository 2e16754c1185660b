"""HTTP bodies: of the gateway's public API, and of its requests to the recommender.

Times are integers, milliseconds since the epoch (UTC).
"""

from operator import not_
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from contracts.catalogue import Song
from contracts.events import ArmName, Id, Seconds
from contracts.profiles import AnimeEntry

MAX_EVENTS = 500
MAX_BODY_BYTES = 256 * 1024


class Body(BaseModel):
    """A request body: unknown fields are an error, so that a typing mistake is reported."""

    model_config = ConfigDict(extra="forbid")


# ---- the public surface ---------------------------------------------------------------------------------------------


class NewSession(Body):
    """`POST /v1/sessions`: opens a guest's session. Verified AniList identities will use the same route."""

    guest: Literal[True]


class SessionAnswer(BaseModel):
    token: str
    user_id: str
    expires_at: int
    server_time: int


class EventsBody(Body):
    """`POST /v1/events`. Each event is checked separately (see ClientEvent); a bad one does not affect the others."""

    events: Annotated[list[Any], Field(min_length=1, max_length=MAX_EVENTS)]


class RejectedEvent(BaseModel):
    """`reason` is `code: sentence`."""

    event_id: str | None
    reason: str


class EventWarning(BaseModel):
    """A value of an accepted event that was dropped or corrected. `reason` is `code: sentence`."""

    event_id: str | None
    reason: str


class LogPosition(BaseModel):
    """The position of the accepted events of one post."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int


class EventsAnswer(BaseModel):
    """`receipt` is null when nothing was accepted. `warnings`: dropped or corrected values."""

    accepted: int
    rejected: list[RejectedEvent]
    receipt: str | None
    log: LogPosition | None
    server_time: int
    warnings: list[EventWarning] = []


# The scale of a list's scores, in AniList's terms.
ScoreFormat = Literal["POINT_100", "POINT_10_DECIMAL", "POINT_10", "POINT_5", "POINT_3"]


class AnimeListBody(Body):
    """`PUT /v1/profile/anime`: the whole list; it replaces the one before.

    An entry that breaks the rules is left out, or accepted without its status or score; the answer counts these.
    """

    entries: Annotated[list[AnimeEntry], Field(max_length=20_000)]
    score_format: ScoreFormat | None = None


class ListNote(BaseModel):
    """Entries of an anime list that were left out or changed: their number, and the first few as they were sent.

    `reason` is `code: sentence`.
    """

    reason: str
    count: int
    examples: list[str]


class AnimeListAnswer(BaseModel):
    """`count`: anime in the stored list. `left_out`: entries that are not in it. `warnings`: dropped values."""

    count: int
    receipt: str
    server_time: int
    left_out: list[ListNote] = []
    warnings: list[ListNote] = []


class NewPlaylist(Body):
    """`POST /v1/playlists`. `not_before` is a receipt that the playlist must reflect."""

    not_before: str | None = None


class RestOfPlaylist(Body):
    """`POST /v1/playlists/{id}/rest`: pick slots `from_slot` and later again."""

    from_slot: Annotated[int, Field(ge=0, le=255)]
    not_before: str | None = None


class Because(BaseModel):
    """One favoured song that contributed to a pick, and what the two songs share."""

    song_id: str
    title: str
    anime: str
    shares: list[str]


class PlaylistSlot(BaseModel):
    """`probability` = P(arm at this slot) x P(song | arm, earlier picks)."""

    slot: int
    song_id: str
    title: str
    anime: str
    anime_id: str
    arm: ArmName
    url: str
    youtube_id: str | None
    slot_token: str
    probability: float
    score: float
    why: list[Because]


# Why a playlist was made from an old profile. `unavailable`: the store of profiles does not answer. `behind`: the store
# lags behind the log (it was emptied or restored, or its consumer stopped). `not_before`: the profile did not reach the
# receipt in time. Each passes without action of the client.
Stale = Literal["unavailable", "behind", "not_before"]


class PlaylistAnswer(BaseModel):
    """`reflects`: mark name -> mark of the profile it was made from. `cold`: `list`, `mean`, or null when adapted.

    `stale`: why the profile was not fresh. With `unavailable` and `behind`, `cold` says nothing about the listener.
    """

    playlist_id: UUID
    revision: int
    slots: list[PlaylistSlot]
    reflects: dict[str, int]
    fresh: bool
    cold: Literal["list", "mean"] | None
    left_out: dict[str, str]
    server_time: int
    stale: Stale | None = None


class HeardSong(BaseModel):
    song_id: str
    title: str | None
    anime: str | None
    watch_seconds: float
    progress: float
    liked: bool
    favoured: bool
    started_at: int | None
    settled: bool


class AnimeFavourability(BaseModel):
    """Favourability = favoured - not favoured, over settled songs."""

    anime_id: str
    title: str | None
    favourability: int


class ProfileAnswer(BaseModel):
    """The profile of a listener, with what is derived from it."""

    user_id: str
    heard: list[HeardSong]
    liked: list[str]
    favoured: list[str]
    vetoed: list[str]
    blacklisted: list[AnimeFavourability]
    anime_list: list[AnimeEntry]
    marks: dict[str, int]
    digest: str
    generation: str
    server_time: int


class AnimeHit(BaseModel):
    anime_id: str
    mal_id: int | None
    title: str
    title_en: str | None
    title_jp: str | None
    songs: int


class AnimeHits(BaseModel):
    query: str
    hits: list[AnimeHit]


class SongAnswer(BaseModel):
    """A song. `shared_with`: the other songs of the requested video; the song itself was served last."""

    song: Song
    url: str
    shared_with: list[str] = []


class Problem(BaseModel):
    """The body of every error: a stable `error` code, and a sentence that says what to do."""

    error: str
    message: str


# ---- the paper's own three endpoints --------------------------------------------------------------------------------


Username = Annotated[str, Field(min_length=1, max_length=64)]


class PaperProfile(BaseModel):
    """Unreadable ids are left out, and the answer lists them."""

    anilist_username: Username
    mal_ids: Annotated[list[int], Field(max_length=20_000)]


class PaperFeedback(BaseModel):
    """Unknown values may be absent or null. An impossible value is dropped, and the answer lists it."""

    anilist_username: Username
    song_id: Id
    recommended_by: str | None = None
    watch_time: Seconds | None = None
    total_video_time: Seconds | None = None
    liked: bool = False


class PaperFeedbackAnswer(BaseModel):
    """`warnings` (`code: sentence`): dropped values; absent if there are none."""

    status: Literal["ok"] = "ok"
    warnings: list[str] = Field(default=[], exclude_if=not_)


class PaperProfileAnswer(BaseModel):
    """`count`: anime in the stored list. The other two are as in AnimeListAnswer, and absent if empty."""

    status: Literal["ok"] = "ok"
    count: int
    left_out: list[ListNote] = Field(default=[], exclude_if=not_)
    warnings: list[ListNote] = Field(default=[], exclude_if=not_)


class PaperVideo(BaseModel):
    youtube_video_id: str
    youtube_url: str
    song: str
    anime: str
    recommended_by: str


class PaperPlaylist(BaseModel):
    videos: list[PaperVideo]


# ---- gateway -> recommender (never reachable from outside) ----------------------------------------------------------


class MarkToReach(Body):
    """The profile must reflect the record at `offset`."""

    topic_id: str
    partition: int
    offset: int


class PlaylistRequest(Body):
    """`POST /internal/playlists`."""

    user_id: Id
    not_before: MarkToReach | None = None


class RestRequest(Body):
    """`POST /internal/playlists/{id}/rest`."""

    user_id: Id
    from_slot: int
    not_before: MarkToReach | None = None


class MarkRequest(Body):
    """`POST /internal/await`: answer when the user's profile reflects the mark, or after `timeout_ms`."""

    user_id: Id
    mark: MarkToReach
    timeout_ms: Annotated[int, Field(ge=0, le=10_000)] = 500


class MarkAnswer(BaseModel):
    reached: bool
    waited_ms: float
    mark: int
