"""Synthetic listeners for tests and benchmarks: their taste is known, so an arm's picks can be checked."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collectors.synthetic import CLUSTERS, cluster_of
from contracts.catalogue import Song

AT_HOME: Final = 0.75
ELSEWHERE: Final = 0.08


@dataclass(frozen=True)
class SyntheticListener:
    """One listener. `likes` is the probability of a like by taste cluster of the song: float64 (CLUSTERS,)."""

    user_id: str
    home: int
    likes: NDArray[np.float64]

    def like_probability(self, song: Song) -> float:
        """How probable it is that the listener likes a synthetic song. Raises ValueError for any other song."""
        return float(self.likes[cluster_of(song)])

    def watch_ratio(self, song: Song, rng: np.random.Generator) -> float:
        """A share of the song that the listener stays for, in (0, 1): long where the taste is, short elsewhere."""
        liking = self.like_probability(song)
        return float(rng.beta(1.0 + 6.0 * liking, 1.0 + 3.0 * (1.0 - liking)))


def synthetic_listeners(count: int, seed: int = 0) -> list[SyntheticListener]:
    """`count` listeners. Each likes the songs of one cluster, those of the next by half, and few others."""
    rng = np.random.default_rng([seed, 2])
    return [_listener(number, rng) for number in range(count)]


def _listener(number: int, rng: np.random.Generator) -> SyntheticListener:
    home = int(rng.integers(CLUSTERS))
    likes = np.clip(rng.normal(ELSEWHERE, 0.03, CLUSTERS), 0.01, 0.2)
    likes[(home + 1) % CLUSTERS] = AT_HOME / 2
    likes[home] = np.clip(rng.normal(AT_HOME, 0.08), 0.5, 0.95)
    return SyntheticListener(f"synthetic-{number:05d}", home, likes)
