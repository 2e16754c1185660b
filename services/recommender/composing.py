"""From a listener and the world of this moment to a playlist as served. Pure but for the random numbers it is given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import numpy as np

from contracts.playlists import ServedPlaylist, ServedSlot
from services.recommender.arms.base import Arm, Ask, Pick
from services.recommender.catalogue import Catalogue
from services.recommender.cold_start import ColdStart
from services.recommender.drawing import Order, draw, placed, shuffled
from services.recommender.eligible import Eligible, eligible
from services.recommender.library import World
from services.recommender.listeners import Listener, cold_word
from services.recommender.look_ahead import LookAhead
from services.recommender.models import BoundModel
from services.recommender.picking import Observe, Picked, pick_all
from services.recommender.profile_vectors import ProfileVector, ProfileVectors


@dataclass(frozen=True)
class Moment:
    """What a playlist is made for: its id, revision, time; whether the profile is as fresh as was asked; what rests."""

    playlist_id: UUID
    revision: int
    served_at: int
    fresh: bool
    resting: frozenset[str]


@dataclass(frozen=True)
class Composed:
    """A playlist that is not served yet, and what it took. `lifted` and `queries` are for counting."""

    playlist: ServedPlaylist
    lifted: str
    queries: Mapping[str, int]


@dataclass
class Composer:
    """Makes playlists. `order` and `cold_mode` are the settings of the same meaning."""

    arms: Mapping[str, Arm]
    vectors: ProfileVectors
    order: Order
    cold_mode: Literal["fade", "paper"]
    rng: np.random.Generator
    observe: Observe

    async def look_ahead(self, world: World, listener: Listener, to: LookAhead) -> None:
        """Ask indexes on another machine before `new` or `rest`, which wait for nothing."""
        await to.fill(world.remote, self._vector_of(listener))

    def new(self, world: World, listener: Listener, moment: Moment) -> Composed:
        """A playlist with one song of every arm that has one, slots and picks drawn independently."""
        drawn = draw(tuple(self.arms), self.order, self.rng)
        ask, base, picked = self.picks(world, listener, moment.resting, drawn.picks, ())
        places = placed(drawn.slots, picked.picks.keys(), self.order)
        slots = tuple(
            _slot(world.catalogue, at, arm, p_arm, picked.picks[arm]) for at, (arm, p_arm) in enumerate(places)
        )
        return self._composed(listener=listener, moment=moment, slots=slots, picked=picked, ask=ask, base=base)

    def rest(
        self, world: World, listener: Listener, moment: Moment, before: ServedPlaylist, from_slot: int
    ) -> Composed:
        """The playlist again with slots `from_slot` and later picked anew; every arm keeps its slot.

        An arm that brings nothing now leaves its slot empty: the numbers of the other slots stay.
        """
        kept = tuple(slot.model_copy(update={"kept": True}) for slot in before.slots if slot.slot < from_slot)
        again = {slot.arm: slot for slot in before.slots if slot.slot >= from_slot}
        known = [arm for arm in again if arm in self.arms]
        order = shuffled(known, self.rng) if self.order == "random" else tuple(known)
        taken = [world.catalogue.row_of[s.song_id] for s in kept if s.song_id in world.catalogue.row_of]
        ask, base, picked = self.picks(world, listener, moment.resting, order, taken)
        fresh = tuple(
            _slot(world.catalogue, old.slot, arm, old.p_arm, picked.picks[arm])
            for arm, old in again.items()
            if arm in picked.picks
        )
        composed = self._composed(
            listener=listener, moment=moment, slots=kept + fresh, picked=picked, ask=ask, base=base
        )
        stays, own = {slot.song_id for slot in fresh}, world.catalogue.aliases
        withdrawn = tuple(slot.song_id for slot in again.values() if own.get(slot.song_id, slot.song_id) not in stays)
        changes = {"withdrawn": withdrawn, "from_slot": from_slot, "order": before.order}
        return Composed(composed.playlist.model_copy(update=changes), composed.lifted, composed.queries)

    def picks(
        self, world: World, listener: Listener, resting: frozenset[str], order: Sequence[str], taken: Sequence[int]
    ) -> tuple[Ask, Eligible, Picked]:
        """What the arms bring when they pick in this order, beside the rows that are taken already."""
        base = eligible(world.catalogue, listener.refused, resting, taken)
        ask = Ask(
            catalogue=world.catalogue,
            eligible=base.mask,
            models=world.models,
            left_out=world.left_out,
            vector_of=self._vector_of(listener),
            rng=self.rng,
        )
        return ask, base, pick_all(ask, self.arms, order, self.observe)

    def _vector_of(self, listener: Listener) -> Callable[[BoundModel], ProfileVector]:
        cold, user_id = self._cold(listener), listener.profile.user_id
        return lambda bound: self.vectors.vector(user_id, bound.model, listener.favoured, cold)

    def _cold(self, listener: Listener) -> ColdStart:
        return listener.cold_start(self.cold_mode)

    def _composed(
        self,
        *,
        listener: Listener,
        moment: Moment,
        slots: tuple[ServedSlot, ...],
        picked: Picked,
        ask: Ask,
        base: Eligible,
    ) -> Composed:
        cold = self._cold(listener)
        profile = listener.profile
        playlist = ServedPlaylist(
            playlist_id=moment.playlist_id,
            revision=moment.revision,
            user_id=profile.user_id,
            served_at=moment.served_at,
            slots=slots,
            picks=tuple(picked.picks),
            order=self.order,
            reflects=dict(profile.marks),
            profile_digest=profile.digest,
            fresh=moment.fresh,
            cold=cold_word(cold, len(listener.favoured)),
            cold_weight=cold.weight,
            cold_songs=cold.songs if cold.weight > 0 else (),
            left_out=picked.left_out,
            generation=profile.generation,
        )
        return Composed(playlist, base.lifted, ask.queries)


def _slot(catalogue: Catalogue, at: int, arm: str, p_arm: float, pick: Pick) -> ServedSlot:
    entry = catalogue.entries[pick.row]
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
