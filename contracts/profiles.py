"""Records of `animusic.profiles.v1`, keyed by user: the anime list, or that the user is forgotten.

The topic is compacted: the record with the highest offset counts. A permanent record keeps a user forgotten, because
tombstones expire.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from contracts.events import Id

ListStatus = Literal["watching", "completed", "on_hold", "dropped", "plan_to_watch", "rewatching"]


class AnimeEntry(BaseModel):
    """One anime of a listener's list. `score` is 0-10, 0 = not scored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    mal_id: Annotated[int, Field(ge=1, le=2**31 - 1)]
    status: ListStatus | None = None
    score: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] | None = None


class AnimeList(BaseModel):
    """A listener's whole anime list; it replaces the one before."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    kind: Literal["anime_list"] = "anime_list"
    user_id: Id
    received_at: int
    entries: Annotated[tuple[AnimeEntry, ...], Field(max_length=20_000)]


class Forgotten(BaseModel):
    """The user asked to be forgotten: no consumer may show anything of them again."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    kind: Literal["forgotten"]
    user_id: Id
    received_at: int


ProfileRecord = Annotated[AnimeList | Forgotten, Field(discriminator="kind")]
PROFILE_RECORD: Final[TypeAdapter[AnimeList | Forgotten]] = TypeAdapter(ProfileRecord)
