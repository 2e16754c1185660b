"""Playlists that this process served and the store of profiles may not have yet (read your own writes)."""

from collections.abc import Iterable, Mapping
from typing import Final
from uuid import UUID

from contracts.playlists import ServedPlaylist
from services.common.byte_cache import ByteCache
from services.profiles.reader import HistoryEntry
from services.recommender.eligible import WINDOW

CACHE_BYTES: Final = 32 << 20


class Recent:
    """The last playlists of this process, by id and by listener; the oldest are dropped."""

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        half = cache_bytes // 2
        self._playlists: ByteCache[UUID, ServedPlaylist] = ByteCache("recent_playlists", half, _playlist_size)
        self._pending: ByteCache[str, dict[str, HistoryEntry]] = ByteCache("recent_histories", half, _history_size)

    def add(self, playlist: ServedPlaylist) -> None:
        """Remember a logged playlist; of one id the highest revision is kept."""
        known = self._playlists.get(playlist.playlist_id)
        newest = playlist if known is None or playlist.revision >= known.revision else known
        self._playlists.put(playlist.playlist_id, newest)
        pending = self._pending.get(playlist.user_id) or {}
        pending[str(newest.playlist_id)] = history_entry(newest)
        while len(pending) > WINDOW:
            del pending[next(iter(pending))]
        self._pending.put(playlist.user_id, pending)

    def playlist(self, playlist_id: UUID) -> ServedPlaylist | None:
        """The newest revision that this process served."""
        return self._playlists.get(playlist_id)

    def history(self, user_id: str, stored: Iterable[HistoryEntry]) -> list[HistoryEntry]:
        """The listener's playlists, oldest first: the store's, and newer ones of this process."""
        merged: dict[str, HistoryEntry] = {entry.playlist_id: entry for entry in stored}
        pending = self._pending.get(user_id) or {}
        for playlist_id, entry in list(pending.items()):
            known = merged.get(playlist_id)
            if known is not None and known.revision >= entry.revision:
                del pending[playlist_id]
            else:
                merged[playlist_id] = entry
        return sorted(merged.values(), key=lambda entry: entry.served_at)


def history_entry(playlist: ServedPlaylist) -> HistoryEntry:
    """A playlist as an entry of the store's history."""
    songs = tuple(slot.song_id for slot in playlist.slots)
    return HistoryEntry(str(playlist.playlist_id), playlist.served_at, playlist.revision, songs)


def _playlist_size(playlist: ServedPlaylist) -> int:
    """In bytes, about."""
    return 3_000 + 1_000 * len(playlist.slots)


def _history_size(pending: Mapping[str, HistoryEntry]) -> int:
    """In bytes, about."""
    return 500 + 900 * len(pending)
