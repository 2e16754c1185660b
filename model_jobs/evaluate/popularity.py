"""Popularity of songs, as far as the catalogue has it, and of recommended lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.catalogue import Song
from model_jobs.evaluate.metrics import percentiles
from model_jobs.evaluate.scoring import rank_of, views_of

# Known for less of the catalogue than this, a measure would be about the few songs that it is known for.
_ENOUGH: Final = 0.1


@dataclass(frozen=True)
class Popularity:
    """Popularity by song; NaN where unknown, None where too little is known to measure by.

    Attributes:
        percentile: (songs,) in [0, 1], by views or else by the anime's popularity rank; the catalogue's mean is 0.5.
        surprise: (songs,) bits: -log2 of the song's share of all views.
        notes: what is missing.
    """

    percentile: NDArray[np.float64] | None
    surprise: NDArray[np.float64] | None
    notes: tuple[str, ...]

    @classmethod
    def of(cls, songs: Sequence[Song]) -> "Popularity":
        """By YouTube views where one song in ten has them, else by MyAnimeList's rank of the anime, else not at all."""
        views = np.array([np.nan if (v := views_of(song)) is None else max(v, 1) for song in songs], dtype=np.float64)
        ranks = np.array([np.nan if (r := rank_of(song)) is None else -r for song in songs], dtype=np.float64)
        viewed, ranked = (int(np.count_nonzero(~np.isnan(each))) for each in (views, ranks))
        known = f"{viewed:,} of {len(songs):,} songs have views"
        if viewed >= _ENOUGH * len(songs):
            note = f"{known}: popularity and novelty are over those in a list"
            return cls(percentiles(views), -np.log2(views / np.nansum(views)), (note,))
        lacking = f"{known}: too few for novelty, which is not measured"
        if ranked >= _ENOUGH * len(songs):
            by_rank = f"popularity is that of the anime, by MyAnimeList's rank, which {ranked:,} songs have"
            return cls(percentiles(ranks), None, (lacking, by_rank))
        neither = f"{ranked:,} songs have an anime with a popularity rank: popularity bias is not measured"
        return cls(None, None, (lacking, neither))

    def of_lists(self, lists: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """By measure, (listeners,) means over a list's songs of known popularity; lists without one are left out."""
        measured = {"popularity percentile": self.percentile, "novelty (bits)": self.surprise}
        return {name: _means(values, lists) for name, values in measured.items() if values is not None}


def _means(values: NDArray[np.float64], lists: NDArray[np.int64]) -> NDArray[np.float64]:
    listed = np.where(lists >= 0, values[np.maximum(lists, 0)], np.nan)
    counted = ~np.isnan(listed)
    some = counted.any(axis=1)
    return np.asarray(np.nansum(listed[some], axis=1) / counted[some].sum(axis=1), dtype=np.float64)
