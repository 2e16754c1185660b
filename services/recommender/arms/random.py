"""Chance: the measure of every other arm."""

import numpy as np

from services.recommender.arms.base import Ask, Pick


class Random:
    """Any open song, each with the same probability."""

    name = "random"

    def pick(self, ask: Ask) -> Pick | None:
        """One draw; P(song | arm, earlier picks) = 1 / (open songs). It scores nothing."""
        rows = np.flatnonzero(ask.open)
        if not len(rows):
            return None
        return Pick(int(rows[ask.rng.integers(len(rows))]), 0.0, 1.0 / len(rows))
