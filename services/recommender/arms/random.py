"""The random arm, the baseline of the others."""

import numpy as np

from services.recommender.arms.base import Pick, PickRequest


class Random:
    """Any open song, each with the same probability."""

    name = "random"

    def pick(self, request: PickRequest) -> Pick | None:
        """One draw; P(song | arm, earlier picks) = 1 / (open songs). Its score is 0."""
        rows = np.flatnonzero(request.open)
        if not len(rows):
            return None
        return Pick(int(rows[request.rng.integers(len(rows))]), 0.0, 1.0 / len(rows))
