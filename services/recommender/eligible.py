"""Which songs may be picked: one boolean mask a request, the same for every arm.

Four reasons keep a song out. When they leave nothing, they are lifted one after the other - resting (the listener
refused none of those), then the blacklisted anime, then what was heard - until a song is left; an explicit veto is
never lifted.
"""

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

# From nothing lifted to all that may ever be lifted.
_LIFTS: Final[tuple[tuple[str, int], ...]] = (
    ("nothing", VETOED | HEARD | BLACKLISTED | RESTING),
    ("resting", VETOED | HEARD | BLACKLISTED),
    ("blacklisted", VETOED | HEARD),
    ("heard", VETOED),
)


@dataclass(frozen=True)
class Eligible:
    """`mask`: (songs,) bool, true where a song may be picked. `lifted`: the last reason that had to be lifted."""

    mask: Mask
    lifted: str


def exclusions(catalogue: Catalogue, state: ListenerState) -> Flags:
    """Why each song is out for this listener: (songs,) uint8, bits VETOED, HEARD and BLACKLISTED.

    An anime keeps out every song that appears in it, wherever else the song appears.
    """
    flags = np.zeros(len(catalogue), dtype=np.uint8)
    flags[catalogue.rows_of(state.heard)] |= HEARD
    _flag_anime(catalogue, flags, state.vetoed, VETOED)
    _flag_anime(catalogue, flags, state.blacklisted, BLACKLISTED)
    return flags


def updated_exclusions(catalogue: Catalogue, before: Flags, old: ListenerState, state: ListenerState) -> Flags:
    """What `refusals` gives, from its flags `before` for the `old` state. Does not change `before`."""
    if old.heard == state.heard and old.vetoed == state.vetoed and old.blacklisted == state.blacklisted:
        return before
    flags = before.copy()
    flags[catalogue.rows_of(old.heard - state.heard)] &= ~np.uint8(HEARD)
    flags[catalogue.rows_of(state.heard - old.heard)] |= HEARD
    _move_anime(catalogue, flags, old.vetoed, state.vetoed, VETOED)
    _move_anime(catalogue, flags, old.blacklisted, state.blacklisted, BLACKLISTED)
    return flags


def _move_anime(catalogue: Catalogue, flags: Flags, old: frozenset[str], now: frozenset[str], bit: int) -> None:
    """A song that an anime lets go may be kept out by another of its anime."""
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
        refused: as `refusals` gives them.
        resting: song ids.
        taken: rows that the playlist already holds; they and their anime are out whatever is lifted.
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
    """The songs that the next playlist must not have: shown again and again, and never started.

    Deterministic arms would otherwise pick the same song for every playlist.

    A song rests for the `rest` playlists after the one that showed it for the `after_shown`-th time; then it counts
    anew. What a resting song is shown meanwhile (nothing else was left) does not count. A started song is heard and out
    anyway, so starting needs no place here.

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
    return frozenset(song for song, end in until.items() if end > len(window))
