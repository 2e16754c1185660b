"""Cold start: songs of the listener's anime list replace likes, with less weight as favourites come in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from contracts.profiles import AnimeEntry
from services.recommender.catalogue import Catalogue

# With this many favourites, list and favourites have equal weight.
HALF_AT: Final = 5


@dataclass(frozen=True)
class ColdStart:
    """`songs` replace likes with weight `weight`; the favourites have weight 1 - `weight`."""

    songs: tuple[str, ...]
    weight: float


def weight_of_list(favoured: int, mode: Literal["fade", "paper"]) -> float:
    """5 / (5 + favoured). In the mode `paper`: 1 without favourites, else 0."""
    if mode == "paper":
        return 0.0 if favoured else 1.0
    return HALF_AT / (HALF_AT + favoured)


def cold_start(songs: tuple[str, ...], favoured: int, mode: Literal["fade", "paper"]) -> ColdStart:
    """The cold start, given the songs that were drawn from the list (none: no list)."""
    return ColdStart(songs, weight_of_list(favoured, mode) if songs else 0.0)


def songs_of_list(catalogue: Catalogue, anime_list: Sequence[AnimeEntry], wanted: int) -> tuple[str, ...]:
    """`wanted` songs of the anime of a list, drawn uniformly; the same songs for the same anime, in any process.

    Each song gets a pseudo-random number from the list and the song, and the smallest numbers win. So a new song of the
    catalogue replaces at most one of them.
    """
    rows = _rows_of_list(catalogue, (entry.mal_id for entry in anime_list))
    if not len(rows):
        return ()
    drawn = rows[np.argsort(_mixed(catalogue.points[rows], _seed(anime_list)))][:wanted]
    return tuple(catalogue.songs[row].song_id for row in drawn)


def _rows_of_list(catalogue: Catalogue, mal_ids: Iterable[int]) -> NDArray[np.int32]:
    anime = {catalogue.by_mal_id[mal_id] for mal_id in mal_ids if mal_id in catalogue.by_mal_id}
    if not anime:
        return np.empty(0, dtype=np.int32)
    return np.unique(np.concatenate([catalogue.songs_of_anime.of(each) for each in sorted(anime)]))


def _seed(anime_list: Sequence[AnimeEntry]) -> np.uint64:
    content = ",".join(map(str, sorted({entry.mal_id for entry in anime_list})))
    return np.uint64(int.from_bytes(blake2b(content.encode(), digest_size=8).digest(), "big"))


def _mixed(points: NDArray[np.uint64], seed: np.uint64) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014) over point and seed."""
    mixed = points ^ seed
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)
