"""Decodes the fields of a user's hash into a profile. Pure."""

from collections.abc import Collection
from typing import NamedTuple

import orjson
from pydantic import TypeAdapter

from contracts.fold import (
    LIST_FIELD,
    SONG_FIELD,
    UNFOLDED_FIELDS,
    VERSION_FIELD,
    VETO_FIELD,
    digest_sum,
    song_field,
    veto_field,
)
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
        stored = [(song_field(song), value) for song, value in self.songs.items()]
        stored += [(veto_field(anime), value) for anime, value in self.vetoes.items()]
        stored += [(LIST_FIELD, self.stored_list)] if self.stored_list else []
        return digest_sum(user_id, stored)


class ProfileState:
    """The versioned part of a profile: songs, vetoes, anime list.

    Attributes:
        moved: songs that may differ from the version `moved_from`; undefined if that is empty.
    """

    __slots__ = ("_digest", "anime_list", "content", "generation", "moved", "moved_from", "user_id", "version")

    def __init__(
        self,
        user_id: str,
        generation: str,
        version: bytes,
        content: Content,
        before: "ProfileState | None",
        *,
        digest: int | None = None,
    ) -> None:
        """`before`: an older state of the same user and generation, if any; `digest`: if known."""
        self.user_id = user_id
        self.generation = generation
        self.version = version
        self.content = content
        same = before is not None and before.content.stored_list == content.stored_list
        self.anime_list: tuple[AnimeEntry, ...] = (
            before.anime_list if same and before else _entries(content.stored_list)
        )
        self._digest = digest
        self.moved: Collection[str] = ()
        self.moved_from = b""

    @property
    def songs(self) -> dict[str, bytes]:
        return self.content.songs

    @property
    def vetoes(self) -> dict[str, bytes]:
        return self.content.vetoes

    @property
    def digest(self) -> str:
        """contracts.fold.user_digest of the stored fields, 32 hex digits. Computed on first use."""
        if self._digest is None:
            self._digest = self.content.total(self.user_id) % _MODULUS
        return f"{self._digest:032x}"

    def changed(self, version: bytes, gone: Content, come: Content) -> "ProfileState":
        """The state after the fields `come` replaced the fields `gone`.

        A known digest is updated, so that a change of one song costs two entries and not 2,000.
        """
        songs, vetoes, stored_list = self.content
        content = Content(
            _exchanged(songs, gone.songs, come.songs),
            _exchanged(vetoes, gone.vetoes, come.vetoes),
            come.stored_list if gone.stored_list or come.stored_list else stored_list,
        )
        digest = self._digest
        if digest is not None:
            digest = (digest - gone.total(self.user_id) + come.total(self.user_id)) % _MODULUS
        state = ProfileState(self.user_id, self.generation, version, content, self, digest=digest)
        state.moved, state.moved_from = gone.songs.keys() | come.songs.keys(), self.version
        return state


def _exchanged(fields: dict[str, bytes], gone: dict[str, bytes], come: dict[str, bytes]) -> dict[str, bytes]:
    if not gone and not come:
        return fields
    merged = fields | come
    for key in gone.keys() - come.keys():
        del merged[key]
    return merged


def decode_state(
    user_id: str, generation: str, version: bytes, flat: list[bytes], before: ProfileState | None
) -> ProfileState:
    """A profile from HGETALL's flat answer. Raises ValueError on a field that no version of this code writes."""
    return ProfileState(user_id, generation, version, _content(user_id, flat[::2], flat[1::2]), before)


def decode_changes(before: ProfileState, version: bytes, flat: list[bytes | None]) -> ProfileState:
    """A profile from the one before and the fields that changed since (None: removed). Raises ValueError."""
    names: list[bytes] = [name for name in flat[::2] if name is not None]
    come = [(name, value) for name, value in zip(names, flat[1::2], strict=True) if value is not None]
    old = [(name, value) for name in names if (value := _stored(before.content, name)) is not None]
    gone, new = (_content(before.user_id, [n for n, _ in some], [v for _, v in some]) for some in (old, come))
    return before.changed(version, gone, new)


def _stored(content: Content, name: bytes) -> bytes | None:
    kind, key = name[:1], name[1:].decode()
    if kind == SONG_FIELD:
        return content.songs.get(key)
    return content.vetoes.get(key) if kind == VETO_FIELD else content.stored_list or None


def _content(user_id: str, names: list[bytes], values: list[bytes]) -> Content:
    songs: dict[str, bytes] = {}
    vetoes: dict[str, bytes] = {}
    stored_list = b""
    for name, value in zip(names, values, strict=True):
        kind = name[:1]
        if kind == SONG_FIELD:
            songs[name[1:].decode()] = value
        elif kind == VETO_FIELD:
            vetoes[name[1:].decode()] = value
        elif kind == LIST_FIELD:
            stored_list = value
        elif kind not in UNFOLDED_FIELDS:
            raise ValueError(
                f"unknown field {name!r} in the profile of {user_id}; if a newer version wrote it, upgrade this service"
            )
    return Content(songs, vetoes, stored_list)


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
    return tuple(orjson.loads(encoded))


def _entries(stored_list: bytes) -> tuple[AnimeEntry, ...]:
    return _ENTRIES.validate_json(stored_list[8:]) if stored_list else ()
