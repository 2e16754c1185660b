"""Which songs may be picked: one boolean mask for each request, the same for every arm.

A song can be excluded for four reasons: vetoed, heard, blacklisted anime, resting. If no song is left, reasons are
lifted one after the other until one is: first resting (the listener did not reject those songs), then blacklisted
anime, then heard. A veto is never lifted.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.derive import ListenerState
from services.recommender.catalogue import Catalogue, Mask

VETOED: Final = 1
HEARD: Final = 2
BLACKLISTED: Final = 4
RESTING: Final = 8

Flags = NDArray[np.uint8]

# In the order of lifting.
_LIFTS: Final[tuple[tuple[str, int], ...]] = (
    ("nothing", VETOED | HEARD | BLACKLISTED | RESTING),
    ("resting", VETOED | HEARD | BLACKLISTED),
    ("blacklisted", VETOED | HEARD),
    ("heard", VETOED),
)


@dataclass(frozen=True)
class Eligible:
    """`mask`: (songs,) bool, true where a song may be picked. `lifted`: the last reason that was lifted."""

    mask: Mask
    lifted: str


def exclusions(catalogue: Catalogue, state: ListenerState) -> Flags:
    """Why each song is excluded for this listener: (songs,) uint8, bits VETOED, HEARD and BLACKLISTED.

    A vetoed or blacklisted anime excludes every song that appears in it.
    """
    flags = np.zeros(len(catalogue), dtype=np.uint8)
    flags[catalogue.rows_of(state.heard)] |= HEARD
    _flag_anime(catalogue, flags, state.vetoed, VETOED)
    _flag_anime(catalogue, flags, state.blacklisted, BLACKLISTED)
    return flags


def updated_exclusions(catalogue: Catalogue, before: Flags, old: ListenerState, state: ListenerState) -> Flags:
    """Update the flags `before` of the `old` state; the result equals `exclusions`. Does not change `before`."""
    if old.heard == state.heard and old.vetoed == state.vetoed and old.blacklisted == state.blacklisted:
        return before
    flags = before.copy()
    flags[catalogue.rows_of(old.heard - state.heard)] &= ~np.uint8(HEARD)
    flags[catalogue.rows_of(state.heard - old.heard)] |= HEARD
    _move_anime(catalogue, flags, old.vetoed, state.vetoed, VETOED)
    _move_anime(catalogue, flags, old.blacklisted, state.blacklisted, BLACKLISTED)
    return flags


def _move_anime(catalogue: Catalogue, flags: Flags, old: frozenset[str], now: frozenset[str], bit: int) -> None:
    """Move one flag. A song stays excluded while another of its anime excludes it."""
    _flag_anime(catalogue, flags, now - old, bit)
    for anime_id in old - now:
        anime_row = catalogue.anime_row_of.get(anime_id)
        for row in () if anime_row is None else catalogue.songs_of_anime.of(anime_row):
            if now.isdisjoint(each.anime_id for each in catalogue.songs[row].anime):
                flags[row] &= ~np.uint8(bit)


def _flag_anime(catalogue: Catalogue, flags: Flags, anime_ids: Iterable[str], bit: int) -> None:
    for anime_id in anime_ids:
        anime_row = catalogue.anime_row_of.get(anime_id)
        if anime_row is not None:
            flags[catalogue.songs_of_anime.of(anime_row)] |= bit


def eligible(catalogue: Catalogue, excluded: Flags, resting: Iterable[str] = (), taken: Iterable[int] = ()) -> Eligible:
    """The songs that this request may pick.

    Args:
        excluded: from `exclusions`.
        resting: song ids.
        taken: rows that are in the playlist already. They and the songs of their anime stay excluded.
    """
    flags = excluded.copy()
    flags[catalogue.rows_of(resting)] |= RESTING
    free = np.ones(len(catalogue), dtype=np.bool_)
    for row in taken:
        catalogue.block_with_its_anime(free, row)
    choices = (Eligible(((flags & bits) == 0) & free, lifted) for lifted, bits in _LIFTS)
    return next((choice for choice in choices if choice.mask.any()), Eligible(np.zeros_like(free), "nothing"))


WINDOW = 40


def resting(playlists: Sequence[Iterable[str]], *, after_shown: int, rest: int) -> frozenset[str]:
    """The resting songs: those that were shown repeatedly and never started. The next playlist must not have them.

    Without resting, deterministic arms would pick the same song for every playlist.

    A song rests for `rest` playlists after it was shown for the `after_shown`-th time; then its count starts at 0.
    While it rests, showing it (because nothing else was left) does not count. A song that was shown so often within the
    last `rest` playlists rests in any case: the count depends on where the window begins. Started songs are excluded as
    heard, so they need no rule here.

    Args:
        playlists: the song ids of the listener's served playlists, oldest first, without withdrawn ones; the newest
            WINDOW count.
    """
    window = playlists[-WINDOW:]
    shown: dict[str, int] = {}
    until: dict[str, int] = {}
    for at, songs in enumerate(window):
        for song in set(songs):
            if until.get(song, 0) > at:
                continue
            shown[song] = shown.get(song, 0) + 1
            if shown[song] >= after_shown:
                shown[song] = 0
                until[song] = at + 1 + rest
    recent = Counter(song for songs in (window[-rest:] if rest else ()) for song in set(songs))
    often = {song for song, times in recent.items() if times >= after_shown}
    return frozenset(often | {song for song, end in until.items() if end > len(window)})
