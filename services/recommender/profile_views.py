"""What serving derives from a profile, once per version of the profile and of the catalogue."""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Literal

from contracts.derive import ListenerState
from contracts.profiles import AnimeEntry
from contracts.rederive import Derived, derive_full, derive_incrementally
from contracts.registers import VETO, merge_served
from services.common.byte_cache import ByteCache
from services.profiles.reader import StoredProfile
from services.recommender.catalogue import Catalogue
from services.recommender.cold_start import ColdStart, cold_start, songs_of_list
from services.recommender.eligible import Flags, exclusions, updated_exclusions

Cold = Literal["list", "mean"]


@dataclass(frozen=True)
class ProfileView:
    """A profile with what is derived from it and one catalogue: the listener's state and the excluded songs.

    Attributes:
        derived: the listener's state, and what the next one is derived from.
        favoured: `listener_state.favoured`; the same object while its content stays the same.
        refused: why each song is out, see `eligible.refusals`.
        drawn: songs of the anime list that can replace likes, whatever their weight is now.
        catalogue: `Catalogue.serial` of the catalogue.
    """

    profile: StoredProfile
    derived: Derived
    favoured: Set[str]
    excluded: Flags
    drawn: tuple[str, ...]
    catalogue: int

    @property
    def listener_state(self) -> ListenerState:
        return self.derived.listener_state

    def size(self) -> int:
        """Its memory in bytes, about, without the profile's: a song in the derived sets and counts takes 330."""
        return 1_000 + self.excluded.nbytes + 330 * len(self.derived.songs)

    def cold_start(self, mode: Literal["fade", "paper"]) -> ColdStart:
        """The songs that replace likes, and their weight."""
        return cold_start(self.drawn, len(self.favoured), mode)


def cold_reason(cold: ColdStart, favoured: int) -> Cold | None:
    """The kind of cold start: `list` while the list's songs have weight, `mean` without data, None once adapted."""
    if cold.weight > 0:
        return "list"
    return None if favoured else "mean"


class ProfileViews:
    """Derives views, and caches those of recent listeners."""

    def __init__(self, *, cache_bytes: int, cold_songs: int) -> None:
        self._cold_songs = cold_songs
        self._kept: ByteCache[str, ProfileView] = ByteCache("profile_views", cache_bytes, ProfileView.size)

    def of(self, profile: StoredProfile, catalogue: Catalogue) -> ProfileView:
        """The view of a profile; the cached one if neither the profile nor the catalogue changed."""
        known = self._kept.get(profile.user_id)
        if known is None or known.profile.state is not profile.state or known.catalogue != catalogue.serial:
            known = self._derived(profile, catalogue, known)
            self._kept.put(profile.user_id, known)
        return known

    def _derived(self, profile: StoredProfile, catalogue: Catalogue, before: ProfileView | None) -> ProfileView:
        derived, excluded = _follow(profile, catalogue, before)
        favoured: Set[str] = derived.listener_state.favoured
        if before is not None and before.favoured == favoured:
            favoured = before.favoured
        drawn = self._drawn(profile.anime_list, catalogue, before)
        return ProfileView(profile, derived, favoured, excluded, drawn, catalogue.serial)

    def _drawn(
        self, anime_list: tuple[AnimeEntry, ...], catalogue: Catalogue, before: ProfileView | None
    ) -> tuple[str, ...]:
        if not anime_list:
            return ()
        if before and before.catalogue == catalogue.serial and before.profile.anime_list is anime_list:
            return before.drawn
        return songs_of_list(catalogue, anime_list, self._cold_songs)


def _follow(profile: StoredProfile, catalogue: Catalogue, before: ProfileView | None) -> tuple[Derived, Flags]:
    """Update the view before, which usually differs by one song; derive in full if the catalogue changed."""
    songs = under_own_ids(profile.songs, catalogue.aliases, merge_served)
    vetoes = under_own_ids(profile.vetoes, catalogue.anime_aliases, VETO.merge)
    if before is None or before.catalogue != catalogue.serial:
        derived = derive_full(songs, vetoes, catalogue.anime_of)
        return derived, exclusions(catalogue, derived.listener_state)
    # The store names the changed songs by its own ids. If one of them is an alias, all songs are compared.
    as_stored = songs is profile.songs and before.derived.songs is before.profile.songs
    moved = profile.moved_since(before.profile.state) if as_stored else None
    derived = derive_incrementally(before.derived, songs, vetoes, moved)
    return derived, updated_exclusions(catalogue, before.excluded, before.listener_state, derived.listener_state)


def under_own_ids(
    registers: Mapping[str, bytes], aliases: Mapping[str, str], merge: Callable[[bytes, bytes], bytes]
) -> Mapping[str, bytes]:
    """`registers` (id -> packed) with those of every alias merged into its own id; the same object if there is none.

    The store keeps events under the ids that they were posted with. A register's merge is a maximum, so merging the
    registers of two ids equals the fold of all events under one id. Nothing is rewritten when an id becomes an alias.
    """
    found = registers.keys() & aliases.keys()
    if not found:
        return registers
    merged = dict(registers)
    for alias in found:
        value, own = merged.pop(alias), aliases[alias]
        merged[own] = merge(merged[own], value) if own in merged else value
    return merged
