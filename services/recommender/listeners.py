"""What follows from a profile for serving, worked out once per version of the profile and of the catalogue."""

from collections import OrderedDict
from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

from contracts.derive import Standing
from contracts.profiles import AnimeEntry
from contracts.rederive import Derived, derive_again, derive_anew
from contracts.registers import VETO, merge_served
from services.recommender.aliases import under_own_ids
from services.recommender.catalogue import Catalogue
from services.recommender.cold_start import ColdStart, cold_start, songs_of_list
from services.recommender.eligible import Flags, refusals, refusals_again
from services.recommender.profile import Profile

Cold = Literal["list", "mean"]


@dataclass(frozen=True)
class Listener:
    """One listener beside one catalogue profile.

    Attributes:
        derived: the standing, and what the next one is derived from.
        favoured: `standing.favoured`; the same object for as long as its content stays.
        refused: why each song is out, see `eligible.refusals`.
        drawn: songs of the anime list that stand in for likes, whatever they weigh now.
    """

    profile: Profile
    derived: Derived
    favoured: Set[str]
    refused: Flags
    drawn: tuple[str, ...]
    catalogue: int

    @property
    def standing(self) -> Standing:
        return self.derived.standing

    def cold_start(self, mode: Literal["fade", "paper"]) -> ColdStart:
        """What stands in for likes, and how much it weighs."""
        return cold_start(self.drawn, len(self.favoured), mode)


def cold_word(cold: ColdStart, favoured: int) -> Cold | None:
    """How cold the listener is: `list` while the list's songs weigh, `mean` with nothing at all, None once adapted."""
    if cold.weight > 0:
        return "list"
    return None if favoured else "mean"


class Listeners:
    """Derived listeners, the most recently used `kept` of them."""

    def __init__(self, *, kept: int, cold_songs: int) -> None:
        self._kept = kept
        self._cold_songs = cold_songs
        self._listeners: OrderedDict[str, Listener] = OrderedDict()

    def of(self, profile: Profile, catalogue: Catalogue) -> Listener:
        """The listener of a profile; the one from before when neither it nor the catalogue changed."""
        known = self._listeners.pop(profile.user_id, None)
        if known is None or known.profile.state is not profile.state or known.catalogue != catalogue.serial:
            known = self._derived(profile, catalogue, known)
        self._listeners[profile.user_id] = known
        if len(self._listeners) > self._kept:
            self._listeners.popitem(last=False)
        return known

    def _derived(self, profile: Profile, catalogue: Catalogue, before: Listener | None) -> Listener:
        derived, refused = _follow(profile, catalogue, before)
        favoured: Set[str] = derived.standing.favoured
        if before is not None and before.favoured == favoured:
            favoured = before.favoured
        drawn = self._drawn(profile.anime_list, catalogue, before)
        return Listener(profile, derived, favoured, refused, drawn, catalogue.serial)

    def _drawn(
        self, anime_list: tuple[AnimeEntry, ...], catalogue: Catalogue, before: Listener | None
    ) -> tuple[str, ...]:
        if not anime_list:
            return ()
        if before and before.catalogue == catalogue.serial and before.profile.anime_list is anime_list:
            return before.drawn
        return songs_of_list(catalogue, anime_list, self._cold_songs)


def _follow(profile: Profile, catalogue: Catalogue, before: Listener | None) -> tuple[Derived, Flags]:
    """From the listener before, who is mostly the same but for a song; from nothing where the catalogue changed."""
    songs = under_own_ids(profile.songs, catalogue.aliases, merge_served)
    vetoes = under_own_ids(profile.vetoes, catalogue.anime_aliases, VETO.merge)
    if before is None or before.catalogue != catalogue.serial:
        derived = derive_anew(songs, vetoes, catalogue.anime_of)
        return derived, refusals(catalogue, derived.standing)
    # What moved is known by the ids that the store has; where one of them is an alias, it is looked for.
    as_stored = songs is profile.songs and before.derived.songs is before.profile.songs
    moved = profile.moved_since(before.profile.state) if as_stored else None
    derived = derive_again(before.derived, songs, vetoes, moved)
    return derived, refusals_again(catalogue, before.refused, before.standing, derived.standing)
