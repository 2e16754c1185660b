"""The popular arm: YouTube views, then MyAnimeList's popularity rank."""

import numpy as np

from services.recommender.arms.base import Pick, PickRequest


class Popular:
    """The most popular open song. Its score is its number of views, 0 where unknown."""

    name = "popular"

    def pick(self, request: PickRequest) -> Pick | None:
        """The first open song in the order of popularity."""
        ranked = request.catalogue.by_popularity
        is_open = request.open[ranked]
        first = int(np.argmax(is_open)) if len(is_open) else 0
        if not len(is_open) or not is_open[first]:
            return None
        row = int(ranked[first])
        return Pick(row, float(request.catalogue.songs[row].views or 0), 1.0)
