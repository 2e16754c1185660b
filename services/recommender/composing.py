"""Composes a playlist from a profile view and a catalogue snapshot. Pure, except for its random generator."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import numpy as np

from contracts.playlists import ServedPlaylist, ServedSlot
from services.recommender.arms.base import Arm, Pick, PickRequest
from services.recommender.catalogue import Catalogue
from services.recommender.cold_start import ColdStart
from services.recommender.eligible import Eligible, eligible
from services.recommender.models import BoundModel
from services.recommender.picking import Observe, Order, Picked, draw, pick_all, placed, shuffled
from services.recommender.prefetch import Prefetcher
from services.recommender.profile_vectors import ProfileVector, ProfileVectors
from services.recommender.profile_views import ProfileView, cold_reason
from services.recommender.snapshots import CatalogueSnapshot


@dataclass(frozen=True)
class PlaylistContext:
    """A playlist's id, revision and time; whether the profile is as fresh as requested; the resting songs."""

    playlist_id: UUID
    revision: int
    served_at: int
    fresh: bool
    resting: frozenset[str]


@dataclass(frozen=True)
class Composed:
    """A playlist that is not served yet. `lifted` and `queries` are for metrics."""

    playlist: ServedPlaylist
    lifted: str
    queries: Mapping[str, int]


@dataclass
class Composer:
    """Makes playlists. `order` and `cold_mode` come from the settings."""

    arms: Mapping[str, Arm]
    vectors: ProfileVectors
    order: Order
    cold_mode: Literal["fade", "paper"]
    rng: np.random.Generator
    observe: Observe

    async def prefetch(self, snapshot: CatalogueSnapshot, view: ProfileView, to: Prefetcher) -> None:
        """Query remote indexes before `new` or `rest`, which do not wait."""
        await to.fill(snapshot.remote, self._vector_of(view))

    def new(self, snapshot: CatalogueSnapshot, view: ProfileView, context: PlaylistContext) -> Composed:
        """A playlist with one song of every arm that picks one. The orders of slots and picks are independent."""
        drawn = draw(tuple(self.arms), self.order, self.rng)
        request, base, picked = self.picks(snapshot, view, context.resting, drawn.picks, ())
        places = placed(drawn.slots, picked.picks.keys(), self.order)
        slots = tuple(
            _slot(snapshot.catalogue, at, arm, p_arm, picked.picks[arm]) for at, (arm, p_arm) in enumerate(places)
        )
        return self._composed(view=view, context=context, slots=slots, picked=picked, request=request, base=base)

    def rest(
        self,
        snapshot: CatalogueSnapshot,
        view: ProfileView,
        context: PlaylistContext,
        before: ServedPlaylist,
        from_slot: int,
    ) -> Composed:
        """The playlist with slots `from_slot` and later picked again; every arm keeps its slot.

        If an arm picks nothing now, its slot stays empty and the other slots keep their numbers.
        """
        kept = tuple(slot.model_copy(update={"kept": True}) for slot in before.slots if slot.slot < from_slot)
        again = {slot.arm: slot for slot in before.slots if slot.slot >= from_slot}
        known = [arm for arm in again if arm in self.arms]
        order = shuffled(known, self.rng) if self.order == "random" else tuple(known)
        taken = [snapshot.catalogue.row_of[s.song_id] for s in kept if s.song_id in snapshot.catalogue.row_of]
        request, base, picked = self.picks(snapshot, view, context.resting, order, taken)
        fresh = tuple(
            _slot(snapshot.catalogue, old.slot, arm, old.p_arm, picked.picks[arm])
            for arm, old in again.items()
            if arm in picked.picks
        )
        composed = self._composed(
            view=view, context=context, slots=kept + fresh, picked=picked, request=request, base=base
        )
        stays, own = {slot.song_id for slot in fresh}, snapshot.catalogue.aliases
        withdrawn = tuple(slot.song_id for slot in again.values() if own.get(slot.song_id, slot.song_id) not in stays)
        changes = {"withdrawn": withdrawn, "from_slot": from_slot, "order": before.order}
        return Composed(composed.playlist.model_copy(update=changes), composed.lifted, composed.queries)

    def picks(
        self,
        snapshot: CatalogueSnapshot,
        view: ProfileView,
        resting: frozenset[str],
        order: Sequence[str],
        taken: Sequence[int],
    ) -> tuple[PickRequest, Eligible, Picked]:
        """The arms' picks in this order. `taken`: rows that are in the playlist already."""
        base = eligible(snapshot.catalogue, view.excluded, resting, taken)
        request = PickRequest(
            catalogue=snapshot.catalogue,
            eligible=base.mask,
            models=snapshot.models,
            left_out=snapshot.left_out,
            vector_of=self._vector_of(view),
            rng=self.rng,
        )
        return request, base, pick_all(request, self.arms, order, self.observe)

    def _vector_of(self, view: ProfileView) -> Callable[[BoundModel], ProfileVector]:
        cold, user_id = self._cold(view), view.profile.user_id
        return lambda bound: self.vectors.vector(user_id, bound.model, view.favoured, cold)

    def _cold(self, view: ProfileView) -> ColdStart:
        return view.cold_start(self.cold_mode)

    def _composed(
        self,
        *,
        view: ProfileView,
        context: PlaylistContext,
        slots: tuple[ServedSlot, ...],
        picked: Picked,
        request: PickRequest,
        base: Eligible,
    ) -> Composed:
        cold = self._cold(view)
        profile = view.profile
        playlist = ServedPlaylist(
            playlist_id=context.playlist_id,
            revision=context.revision,
            user_id=profile.user_id,
            served_at=context.served_at,
            slots=slots,
            picks=tuple(picked.picks),
            order=self.order,
            reflects=dict(profile.marks),
            profile_digest=profile.digest,
            fresh=context.fresh,
            cold=cold_reason(cold, len(view.favoured)),
            cold_weight=cold.weight,
            cold_songs=cold.songs if cold.weight > 0 else (),
            left_out=picked.left_out,
            generation=profile.generation,
        )
        return Composed(playlist, base.lifted, request.queries)


def _slot(catalogue: Catalogue, at: int, arm: str, p_arm: float, pick: Pick) -> ServedSlot:
    entry = catalogue.songs[pick.row]
    return ServedSlot(
        slot=at,
        song_id=entry.song_id,
        anime_id=entry.anime[0].anime_id,
        arm=arm,
        p_arm=p_arm,
        p_song=pick.p_song,
        score=pick.score,
        model_version=pick.version,
    )
