"""Serves playlists: reads the profile, composes, appends to the log, answers. The decisions are in pure modules.

Without Redis a playlist is made from an empty profile. Without the log none is served, because every exposure must be
logged.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

from redis.exceptions import RedisError

from contracts.http import MarkAnswer, MarkRequest, MarkToReach, PlaylistAnswer, PlaylistRequest, RestRequest, Stale
from contracts.marks import MarkName
from contracts.playlists import ServedPlaylist
from services.profiles.reader import HistoryEntry, ProfileReader, StoredProfile, empty_profile
from services.recommender.answering import Answering
from services.recommender.catalogue_song import CatalogueSong
from services.recommender.composing import Composed, Composer, PlaylistContext
from services.recommender.freshness import LogEnds, Watermarks
from services.recommender.metrics import (
    COMPOSE_STEP,
    DERIVE_STEP,
    LIFTED,
    LOG_STEP,
    PLAYLISTS,
    PROFILE_FAILURES,
    PROFILE_STEP,
    QUERIES,
    STALE,
    WAITS,
    WHY_STEP,
)
from services.recommender.playlist_log import LogUnavailable, PlaylistLog
from services.recommender.prefetch import Prefetcher
from services.recommender.profile_views import ProfileView, ProfileViews
from services.recommender.recent import Recent
from services.recommender.snapshots import CatalogueSnapshot, SnapshotStore

logger = logging.getLogger(__name__)

# A local Redis answers in a millisecond. This limits the wait for one that hangs.
PROFILE_SECONDS: Final = 1.0
_LAST_REVISION: Final = 0xFFFF


class NoSuchPlaylist(LookupError):
    """There is no such playlist, or it is another user's."""


class NothingToPick(ValueError):
    """`from_slot` is after the last slot that a playlist can have, or the playlist has too many revisions."""


class NotReady(Exception):
    """The catalogue has not been read yet, or holds no song."""


class ProfilesUnavailable(Exception):
    """Redis does not answer, and the request needs it."""


class PlaylistService:
    """The service of one process. The composition root passes its parts.

    `resting`: gives the resting songs after these playlists (ids of songs, oldest first).
    """

    def __init__(
        self,
        *,
        snapshots: SnapshotStore,
        reader: ProfileReader,
        log: PlaylistLog,
        composer: Composer,
        prefetcher: Prefetcher,
        answering: Answering,
        profile_views: ProfileViews,
        ends: LogEnds,
        recent: Recent,
        resting: Callable[[list[tuple[str, ...]]], frozenset[str]],
        wait_ms: int,
        clock: Callable[[], int],
    ) -> None:
        self.snapshots = snapshots
        self._reader = reader
        self._log = log
        self._composer = composer
        self._ahead = prefetcher
        self._answering = answering
        self._profile_views = profile_views
        self._ends = ends
        self._resting = resting
        self._wait_ms = wait_ms
        self._clock = clock
        self._recent = recent
        self._marks = Watermarks(clock)
        self._picking_again: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    def snapshot(self) -> CatalogueSnapshot:
        """Catalogue and models as of now. Raises NotReady."""
        if not self.snapshots.ready.is_set():
            raise NotReady("the catalogue is being read; try again shortly")
        if not len(self.snapshots.current.catalogue):
            raise NotReady("the catalogue is empty; `animusic catalogue import sample` fills it")
        return self.snapshots.current

    # ---- playlists ----------------------------------------------------------------------------------------------

    async def playlist(self, request: PlaylistRequest) -> PlaylistAnswer:
        """A new playlist. Raises LogUnavailable: nothing was served."""
        profile, stale = await self._profile(request.user_id, request.not_before)
        snapshot = self.snapshot()
        view = await self._view_with_remote(profile, snapshot)
        context = PlaylistContext(uuid4(), 0, self._clock(), stale is None, self._resting_songs(profile, None))
        with COMPOSE_STEP.time():
            composed = self._composer.new(snapshot, view, context)
        return await self._serve(composed, snapshot, view, stale)

    async def rest(self, playlist_id: UUID, request: RestRequest) -> PlaylistAnswer:
        """The next revision of a playlist. Raises NoSuchPlaylist, NothingToPick, LogUnavailable."""
        lock = self._picking_again.setdefault(playlist_id, asyncio.Lock())
        async with lock:
            profile, stale = await self._profile(request.user_id, request.not_before)
            before = await self._newest_revision(request.user_id, playlist_id, _revision_in(profile, playlist_id))
            # A short playlist has an empty rest, because nothing else was eligible.
            if request.from_slot >= len(self._composer.arms) or before.revision >= _LAST_REVISION:
                raise NothingToPick("no slot is left to pick again; ask for a new playlist")
            snapshot = self.snapshot()
            view = await self._view_with_remote(profile, snapshot)
            resting = self._resting_songs(profile, playlist_id)
            context = PlaylistContext(playlist_id, before.revision + 1, self._clock(), stale is None, resting)
            with COMPOSE_STEP.time():
                composed = self._composer.rest(snapshot, view, context, before, request.from_slot)
            return await self._serve(composed, snapshot, view, stale)

    async def resume(self, user_id: str, playlist_id: UUID) -> PlaylistAnswer:
        """The last revision of a playlist, with tokens of its original time. Raises NoSuchPlaylist."""
        profile, _ = await self._profile(user_id, None)
        playlist = await self._newest_revision(user_id, playlist_id, _revision_in(profile, playlist_id))
        snapshot = self.snapshot()
        return self._answering.answer(playlist, snapshot, self._view_of(profile, snapshot))

    async def _serve(
        self, composed: Composed, snapshot: CatalogueSnapshot, view: ProfileView, stale: Stale | None
    ) -> PlaylistAnswer:
        try:
            with LOG_STEP.time():
                await self._log.append(composed.playlist)
        except LogUnavailable:
            PLAYLISTS.labels("log_unavailable").inc()
            raise
        self._recent.add(composed.playlist)
        PLAYLISTS.labels("served").inc()
        LIFTED.labels(composed.lifted).inc()
        if stale is not None:
            STALE.labels(stale).inc()
        for arm, queries in composed.queries.items():
            QUERIES.labels(arm).inc(queries)
        with WHY_STEP.time():
            return self._answering.answer(composed.playlist, snapshot, view, stale)

    async def _newest_revision(self, user_id: str, playlist_id: UUID, stored_revision: int) -> ServedPlaylist:
        """The newest revision of the user's playlist, from this process or, if newer, from the store."""
        playlist = self._recent.playlist(playlist_id)
        if playlist is None or playlist.revision < stored_revision:
            stored = await self._stored(user_id, playlist_id)
            if stored is not None and (playlist is None or stored.revision > playlist.revision):
                playlist = stored
        if playlist is None or playlist.user_id != user_id:
            raise NoSuchPlaylist("no such playlist of this user; ask for a new one")
        return playlist

    async def _stored(self, user_id: str, playlist_id: UUID) -> ServedPlaylist | None:
        try:
            async with asyncio.timeout(PROFILE_SECONDS):
                return await self._reader.playlist(user_id, str(playlist_id))
        except (RedisError, OSError, TimeoutError) as fault:
            raise ProfilesUnavailable("the store of profiles does not answer; try again shortly") from fault

    # ---- profiles -----------------------------------------------------------------------------------------------

    async def read(self, user_id: str) -> tuple[StoredProfile, ProfileView, CatalogueSnapshot]:
        """A profile, its view and the snapshot. Raises ProfilesUnavailable."""
        try:
            async with asyncio.timeout(PROFILE_SECONDS):
                profile = await self._reader.read(user_id)
        except (RedisError, OSError, TimeoutError) as fault:
            raise ProfilesUnavailable("the store of profiles does not answer; try again shortly") from fault
        snapshot = self.snapshot()
        return profile, self._profile_views.of(profile, snapshot.catalogue), snapshot

    async def served_of(self, user_id: str, entries: Sequence[CatalogueSong], arm: str = "") -> CatalogueSong:
        """Of songs that share a video, the one that this listener was served last.

        If one playlist had several of them, that of the `arm`. The first song if the listener was served none, or if
        the store of profiles does not answer.
        """
        wanted = {entry.song_id: entry for entry in entries}
        if not user_id:
            return entries[0]
        profile, _ = await self._profile(user_id, None)
        own_ids = self.snapshots.current.catalogue.own_ids
        for shown in reversed(self._recent.history(user_id, profile.history)):
            found = [each for each in own_ids(shown.songs) if each in wanted]
            if len(found) > 1:
                found = [*own_ids(await self._of_arm(user_id, shown, arm)), *found]
            if found:
                return next(wanted[each] for each in found if each in wanted)
        return entries[0]

    async def _of_arm(self, user_id: str, shown: HistoryEntry, arm: str) -> list[str]:
        """The songs of an arm in a playlist; none if the playlist does not exist any more."""
        try:
            playlist = await self._newest_revision(user_id, UUID(str(shown.playlist_id)), shown.revision)
        except (NoSuchPlaylist, ProfilesUnavailable):
            return []
        return [slot.song_id for slot in playlist.slots if slot.arm == arm]

    async def reached(self, request: MarkRequest) -> MarkAnswer:
        """Wait until the profile reflects a mark. Raises ProfilesUnavailable."""
        try:
            reached, mark, waited = await self._reader.wait_for(
                request.user_id, _name(request.mark), request.mark.offset, request.timeout_ms
            )
        except (RedisError, OSError) as fault:
            raise ProfilesUnavailable("the store of profiles does not answer; try again shortly") from fault
        return MarkAnswer(reached=reached, waited_ms=waited, mark=mark)

    async def _profile(self, user_id: str, not_before: MarkToReach | None) -> tuple[StoredProfile, Stale | None]:
        """The profile, and why it is stale if it is; an empty profile if Redis fails."""
        try:
            profile, reached = await self._read(user_id, not_before)
        except (RedisError, OSError, TimeoutError) as fault:
            PROFILE_FAILURES.inc()
            logger.warning(
                "Redis did not return a profile, so the playlist is not personal: %s", fault or type(fault).__name__
            )
            return empty_profile(user_id), "unavailable"
        # If a mark went back, the store was emptied or restored, so its profiles are old.
        advanced = self._marks.advance(user_id, profile)
        if not advanced or self._ends.behind(user_id, profile.marks):
            return profile, "behind"
        return profile, None if reached else "not_before"

    async def _read(self, user_id: str, not_before: MarkToReach | None) -> tuple[StoredProfile, bool]:
        """The profile, and whether it reflects the mark that was asked for."""
        if not_before is None:
            async with asyncio.timeout(PROFILE_SECONDS):
                with PROFILE_STEP.time():
                    return await self._reader.read(user_id), True
        async with asyncio.timeout(self._wait_ms / 1000 + PROFILE_SECONDS):
            profile, (reached, _, _) = await self._reader.read_at(
                user_id, _name(not_before), not_before.offset, self._wait_ms
            )
        WAITS.labels("reached" if reached else "late").inc()
        return profile, reached

    def _view_of(self, profile: StoredProfile, snapshot: CatalogueSnapshot) -> ProfileView:
        with DERIVE_STEP.time():
            return self._profile_views.of(profile, snapshot.catalogue)

    async def _view_with_remote(self, profile: StoredProfile, snapshot: CatalogueSnapshot) -> ProfileView:
        """The view, after querying remote indexes. The request keeps its snapshot, even if a new one replaces it."""
        view = self._view_of(profile, snapshot)
        if snapshot.remote:
            await self._composer.prefetch(snapshot, view, self._ahead)
        return view

    def _resting_songs(self, profile: StoredProfile, but: UUID | None) -> frozenset[str]:
        history = self._recent.history(profile.user_id, profile.history)
        own_ids = self.snapshots.current.catalogue.own_ids
        return self._resting([own_ids(entry.songs) for entry in history if str(entry.playlist_id) != str(but)])


def _name(mark: MarkToReach) -> MarkName:
    return MarkName(mark.topic_id, mark.partition)


def _revision_in(profile: StoredProfile, playlist_id: UUID) -> int:
    """The revision of a playlist in the store's history, -1 for none."""
    wanted = str(playlist_id)
    return max((entry.revision for entry in profile.history if str(entry.playlist_id) == wanted), default=-1)
