"""A profile as serving needs it, and the one of a listener of whom nothing can be known just now."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from contracts.fold import user_digest
from contracts.playlists import ServedPlaylist
from contracts.profiles import AnimeEntry


class Shown(Protocol):
    """A playlist that was served to the listener; `songs`: those in its slots, without withdrawn ones."""

    @property
    def playlist_id(self) -> str: ...
    @property
    def served_at(self) -> int: ...
    @property
    def revision(self) -> int: ...
    @property
    def songs(self) -> tuple[str, ...]: ...


class Profile(Protocol):
    """`services.profiles.reader.ProfileSnapshot`, or `Nobody`. `state` is the same object while the rest of it is."""

    @property
    def state(self) -> object: ...
    @property
    def user_id(self) -> str: ...
    @property
    def generation(self) -> str: ...
    @property
    def songs(self) -> Mapping[str, bytes]: ...
    @property
    def vetoes(self) -> Mapping[str, bytes]: ...
    @property
    def anime_list(self) -> tuple[AnimeEntry, ...]: ...
    @property
    def digest(self) -> str: ...
    @property
    def marks(self) -> Mapping[str, int]: ...
    @property
    def history(self) -> Sequence[Shown]: ...

    def moved_since(self, state: object) -> Collection[str] | None:
        """The songs that may differ from those of an older `state`; None where nobody knows."""


@dataclass(frozen=True)
class Nobody:
    """The profile of a listener when the store of profiles does not answer."""

    user_id: str
    state: object = field(default_factory=object)
    generation: str = ""
    songs: Mapping[str, bytes] = field(default_factory=dict)
    vetoes: Mapping[str, bytes] = field(default_factory=dict)
    anime_list: tuple[AnimeEntry, ...] = ()
    marks: Mapping[str, int] = field(default_factory=dict)
    history: Sequence[Shown] = ()

    @property
    def digest(self) -> str:
        """Of no fields at all."""
        return user_digest(self.user_id, {})

    def moved_since(self, state: object) -> Collection[str] | None:
        """Nobody knows."""
        return None


class ServedEntry(NamedTuple):
    """A playlist of this process, as the store's history would show it."""

    playlist_id: str
    served_at: int
    revision: int
    songs: tuple[str, ...]

    @classmethod
    def of(cls, playlist: ServedPlaylist) -> "ServedEntry":
        """The entry of a playlist as served."""
        songs = tuple(slot.song_id for slot in playlist.slots)
        return cls(str(playlist.playlist_id), playlist.served_at, playlist.revision, songs)
