"""Records of `animusic.playlists.v1`: a playlist as served, slot by slot, one record a revision."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from contracts.events import ArmName, Id, ModelVersion

Probability = Annotated[float, Field(ge=0, le=1)]


class ServedSlot(BaseModel):
    """One slot: its song, the arm that picked it, and the probabilities of the draw.

    `p_arm` = P(arm at this slot), `p_song` = P(song | arm, earlier picks). `kept`: an earlier revision served this
    slot, and this one did not pick it again.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    slot: Annotated[int, Field(ge=0, le=0xFF)]
    song_id: Id
    anime_id: Id
    arm: ArmName
    p_arm: Probability
    p_song: Probability
    score: float
    model_version: ModelVersion | None = None
    kept: bool = False


class ServedPlaylist(BaseModel):
    """A playlist as served.

    Attributes:
        picks: the arms in the order in which they picked (drawn independently of the slots' order).
        withdrawn: song ids of the former revision that this one replaced. An analysis must not count
            them as not reached.
        reflects: mark name (`topic id/partition`) -> mark of the profile it was made from.
        profile_digest: digest of that profile's stored fields, 32 hex digits.
        cold: what content arms used beside favourites: `list`, `mean`, or None when fully adapted.
        cold_songs: songs of the anime list that replaced likes.
        left_out: arm -> why it picked nothing.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    playlist_id: UUID
    revision: Annotated[int, Field(ge=0, le=0xFFFF)]
    user_id: Id
    served_at: int
    slots: tuple[ServedSlot, ...]
    picks: tuple[ArmName, ...]
    order: Literal["random", "fixed"] = "random"
    withdrawn: tuple[Id, ...] = ()
    reflects: dict[str, int]
    profile_digest: str
    fresh: bool
    cold: Literal["list", "mean"] | None = None
    cold_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    cold_songs: tuple[Id, ...] = ()
    left_out: dict[str, str] = {}
    from_slot: int = 0
    generation: str = ""

    def log_value(self) -> bytes:
        """The record value: compact JSON."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()
