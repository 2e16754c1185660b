"""HTTP bodies: what the gateway answers to the world, and what it asks of the recommender.

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
    """A request body: unknown fields are an error, so that a typing mistake is not silently nothing."""

    model_config = ConfigDict(extra="forbid")


# ---- the public surface ---------------------------------------------------------------------------------------------


class NewSession(Body):
    """`POST /v1/sessions`: a guest today; verified AniList identities take the same route later."""

    guest: Literal[True]


class SessionAnswer(BaseModel):
    token: str
    user_id: str
    expires_at: int
    server_time: int


class EventsBody(Body):
    """`POST /v1/events`. Each event is checked by itself (see ClientEvent): one bad event does not lose the others."""

    events: Annotated[list[Any], Field(min_length=1, max_length=MAX_EVENTS)]


class RejectedEvent(BaseModel):
    """`reason` is `code: sentence`."""

    event_id: str | None
    reason: str


class EventWarning(BaseModel):
    """Something about an accepted event that was not believed. `reason` is `code: sentence`."""

    event_id: str | None
    reason: str


class LogPosition(BaseModel):
    """Where the accepted events of one post lie."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int


class EventsAnswer(BaseModel):
    """`receipt` is null when nothing was accepted. `warnings`: what of the accepted events was not believed."""

    accepted: int
    rejected: list[RejectedEvent]
    receipt: str | None
    log: LogPosition | None
    server_time: int
    warnings: list[EventWarning] = []


# What a list's scores are of, in AniList's words.
ScoreFormat = Literal["POINT_100", "POINT_10_DECIMAL", "POINT_10", "POINT_5", "POINT_3"]


class AnimeListBody(Body):
    """`PUT /v1/profile/anime`: the whole list; it replaces the one before.

    An entry that breaks the rules is left out, or taken without its status or score; the answer says so.
    """

    entries: Annotated[list[AnimeEntry], Field(max_length=20_000)]
    score_format: ScoreFormat | None = None


class ListNote(BaseModel):
    """Entries of an anime list about which something was not believed: how many, and the first few as they were sent.

    `reason` is `code: sentence`.
    """

    reason: str
    count: int
    examples: list[str]


class AnimeListAnswer(BaseModel):
    """`count`: anime of the list now. `left_out`: entries that are not in it. `warnings`: what it lost."""

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
    """One favoured song that weighed in a pick, and what the two share."""

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


# Why a playlist is not as personal as it will be again by itself: the store of profiles does not answer; it lacks what
# has been in the log for a while (wiped, restored, or its consumer stopped); it did not reach `not_before` in time.
Stale = Literal["unavailable", "behind", "not_before"]


class PlaylistAnswer(BaseModel):
    """`reflects`: mark name -> mark of the profile it was made from. `cold`: `list`, `mean`, or null when adapted.

    `stale`: why it is not fresh. With `unavailable` and `behind`, `cold` says nothing about the listener.
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
    """What the system believes about a listener."""

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
    """A song. `shared_with`: the other songs that have the video which was asked for; this one was served last."""

    song: Song
    url: str
    shared_with: list[str] = []


class Problem(BaseModel):
    """Every error: a stable `error` code and a sentence that says what to do."""

    error: str
    message: str


# ---- the paper's own three endpoints --------------------------------------------------------------------------------


Username = Annotated[str, Field(min_length=1, max_length=64)]


class PaperProfile(BaseModel):
    """Ids that cannot be read are left out, and the answer says so."""

    anilist_username: Username
    mal_ids: Annotated[list[int], Field(max_length=20_000)]


class PaperFeedback(BaseModel):
    """What is not known may be left out or null; a value that cannot be true is dropped, and the answer says so."""

    anilist_username: Username
    song_id: Id
    recommended_by: str | None = None
    watch_time: Seconds | None = None
    total_video_time: Seconds | None = None
    liked: bool = False


class PaperFeedbackAnswer(BaseModel):
    """`warnings` (`code: sentence`): what was not believed; left out where all was."""

    status: Literal["ok"] = "ok"
    warnings: list[str] = Field(default=[], exclude_if=not_)


class PaperProfileAnswer(BaseModel):
    """`count`: the anime that the list has now. The other two as in AnimeListAnswer; left out where they are empty."""

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
    """The record at `offset` must have had its effect on the profile."""

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
