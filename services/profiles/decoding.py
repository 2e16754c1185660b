"""From the fields of a user's hash to a profile. Pure."""

import json
from typing import NamedTuple

from pydantic import TypeAdapter

from contracts.fold import LIST_FIELD, SONG_FIELD, VERSION_FIELD, VETO_FIELD, entry_digest, song_field, veto_field
from contracts.profiles import AnimeEntry

_ENTRIES: TypeAdapter[tuple[AnimeEntry, ...]] = TypeAdapter(tuple[AnimeEntry, ...])
_MODULUS = 1 << 128


class HistoryEntry(NamedTuple):
    """One playlist as served: its newest revision's time (ms), and the songs in its slots."""

    playlist_id: str
    served_at: int
    revision: int
    songs: tuple[str, ...]


class Content(NamedTuple):
    """The stored fields, by kind. `stored_list`: offset (8 bytes) and JSON of the anime list; empty for none."""

    songs: dict[str, bytes]
    vetoes: dict[str, bytes]
    stored_list: bytes

    def total(self, user_id: str) -> int:
        """The sum of the digests of all entries."""
        total = sum(entry_digest(user_id, song_field(song), value) for song, value in self.songs.items())
        total += sum(entry_digest(user_id, veto_field(anime), value) for anime, value in self.vetoes.items())
        return total + (entry_digest(user_id, LIST_FIELD, self.stored_list) if self.stored_list else 0)

    def without(self, other: "Content") -> "Content":
        """The fields that `other` lacks or has with another value."""
        stored_list = b"" if self.stored_list == other.stored_list else self.stored_list
        return Content(_only(self.songs, other.songs), _only(self.vetoes, other.vetoes), stored_list)


class ProfileState:
    """The part of a profile that its version names: songs, vetoes, anime list.

    The digest is computed when it is first asked for; from the state before, where that one's is known, so that a
    change of one song costs one entry and not 2,000.
    """

    __slots__ = ("_before", "_content", "_digest", "anime_list", "generation", "songs", "user_id", "version", "vetoes")

    def __init__(
        self, user_id: str, generation: str, version: bytes, content: Content, before: "ProfileState | None"
    ) -> None:
        """`before` is an older state of the same user and generation, if there is one."""
        self.user_id = user_id
        self.generation = generation
        self.version = version
        self.songs, self.vetoes, stored_list = content
        self._content = content
        same = before is not None and before._content.stored_list == stored_list
        self.anime_list: tuple[AnimeEntry, ...] = before.anime_list if same and before else _entries(stored_list)
        self._digest: int | None = None
        self._before = before if before is not None and before._digest is not None else None

    @property
    def digest(self) -> str:
        """contracts.fold.user_digest of the stored fields, 32 hex digits."""
        if self._digest is None:
            self._digest = self._computed() % _MODULUS
            self._before = None
        return f"{self._digest:032x}"

    def _computed(self) -> int:
        old, new = self._before, self._content
        if old is None or old._digest is None:
            return new.total(self.user_id)
        gone, come = old._content.without(new), new.without(old._content)
        return old._digest - gone.total(self.user_id) + come.total(self.user_id)


def _only(one: dict[str, bytes], other: dict[str, bytes]) -> dict[str, bytes]:
    return {key: value for key, value in one.items() if other.get(key) != value}


def decode_state(
    user_id: str, generation: str, version: bytes, flat: list[bytes], before: ProfileState | None
) -> ProfileState:
    """A profile from HGETALL's flat answer. Raises ValueError on a field that no version of this code writes."""
    songs: dict[str, bytes] = {}
    vetoes: dict[str, bytes] = {}
    stored_list = b""
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        kind = name[:1]
        if kind == SONG_FIELD:
            songs[name[1:].decode()] = value
        elif kind == VETO_FIELD:
            vetoes[name[1:].decode()] = value
        elif kind == LIST_FIELD:
            stored_list = value
        elif kind != VERSION_FIELD:
            raise ValueError(f"unknown field {name!r} in the profile of {user_id}: written by a newer version?")
    return ProfileState(user_id, generation, version, Content(songs, vetoes, stored_list), before)


def decode_history(flat: list[bytes]) -> tuple[HistoryEntry, ...]:
    """A history from HGETALL's flat answer, newest last."""
    entries = [
        HistoryEntry(
            name.decode(), int.from_bytes(value[:8], "big"), int.from_bytes(value[8:10], "big"), _songs(value[10:])
        )
        for name, value in zip(flat[::2], flat[1::2], strict=True)
        if name != VERSION_FIELD
    ]
    return tuple(sorted(entries, key=lambda entry: (entry.served_at, entry.revision, entry.playlist_id)))


def _songs(encoded: bytes) -> tuple[str, ...]:
    return tuple(json.loads(encoded))


def _entries(stored_list: bytes) -> tuple[AnimeEntry, ...]:
    return _ENTRIES.validate_json(stored_list[8:]) if stored_list else ()
