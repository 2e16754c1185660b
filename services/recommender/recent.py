"""Playlists that this process served and the store of profiles may not show yet: a process reads its own writes."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from contracts.playlists import ServedPlaylist
from services.recommender.profile import ServedEntry, Shown
from services.recommender.resting import WINDOW

KEPT_PLAYLISTS: Final = 4_000
KEPT_LISTENERS: Final = 10_000


class Recent:
    """The last playlists of this process, by id and by listener; the oldest are forgotten."""

    def __init__(self, *, playlists: int = KEPT_PLAYLISTS, listeners: int = KEPT_LISTENERS) -> None:
        self._max_playlists = playlists
        self._max_listeners = listeners
        self._playlists: OrderedDict[UUID, ServedPlaylist] = OrderedDict()
        self._pending: OrderedDict[str, dict[str, ServedEntry]] = OrderedDict()

    def add(self, playlist: ServedPlaylist) -> None:
        """Remember a playlist that is in the log; of one id the highest revision."""
        known = self._playlists.pop(playlist.playlist_id, None)
        newest = playlist if known is None or playlist.revision >= known.revision else known
        self._playlists[playlist.playlist_id] = newest
        pending = self._pending.pop(playlist.user_id, {})
        pending[str(newest.playlist_id)] = ServedEntry.of(newest)
        while len(pending) > WINDOW:
            del pending[next(iter(pending))]
        self._pending[playlist.user_id] = pending
        if len(self._playlists) > self._max_playlists:
            self._playlists.popitem(last=False)
        if len(self._pending) > self._max_listeners:
            self._pending.popitem(last=False)

    def playlist(self, playlist_id: UUID) -> ServedPlaylist | None:
        """The newest revision that this process served."""
        return self._playlists.get(playlist_id)

    def history(self, user_id: str, stored: Iterable[Shown]) -> list[Shown]:
        """The listener's playlists, oldest first: the store's, and those of this process that are ahead of it."""
        merged: dict[str, Shown] = {entry.playlist_id: entry for entry in stored}
        pending = self._pending.get(user_id, {})
        for playlist_id, entry in list(pending.items()):
            known = merged.get(playlist_id)
            if known is not None and known.revision >= entry.revision:
                del pending[playlist_id]
            else:
                merged[playlist_id] = entry
        return sorted(merged.values(), key=lambda entry: entry.served_at)
