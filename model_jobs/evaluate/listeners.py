"""Made-up listeners: each liked a few songs of one genre, and nothing else is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.catalogue import Song
from model_jobs.evaluate.traits import Shared, values_of

LIKED: Final = 3
# A genre of fewer songs could not fill a list of ten for a listener who has heard three of them.
_SONGS: Final = 20


@dataclass(frozen=True)
class Listeners:
    """Listeners and what they liked.

    Attributes:
        likes: (listeners, LIKED) rows of the catalogue, none twice for one listener.
        genre: (listeners,) the column in `genres` that each of a listener's songs has; None where the catalogue has
            no genre to draw by, and the songs are any songs.
    """

    likes: NDArray[np.int64]
    genre: NDArray[np.int64] | None
    genres: Shared

    @classmethod
    def draw(cls, songs: Sequence[Song], listeners: int, seed: int = 0) -> "Listeners":
        """For each listener a genre, all that have 20 songs alike, then three songs of it, all alike.

        Raises ValueError for a catalogue of fewer than three songs.
        """
        if len(songs) < LIKED:
            raise ValueError(f"listeners like {LIKED} songs each, and the catalogue has {len(songs)}")
        rng, genres = np.random.default_rng([seed, 2]), Shared(values_of(songs, "genres"))
        by_genre = genres.matrix.tocsc()
        common = np.flatnonzero(np.diff(by_genre.indptr) >= _SONGS)
        if not len(common):
            any_songs = [rng.choice(len(songs), LIKED, replace=False) for _ in range(listeners)]
            return cls(np.array(any_songs), None, genres)
        drawn = rng.choice(common, listeners)
        likes = [rng.choice(by_genre.indices[slice(*by_genre.indptr[[g, g + 1]])], LIKED, replace=False) for g in drawn]
        return cls(np.array(likes, dtype=np.int64), drawn, genres)

    def of_their_genre(self, lists: NDArray[np.int64]) -> NDArray[np.float64]:
        """(listeners,): the share of a list of k, places left empty included, that has the listener's genre.

        Raises ValueError for listeners without one.
        """
        if self.genre is None:
            raise ValueError("the catalogue has no genre with enough songs")
        has = np.stack(
            [
                self.genres.matrix[np.maximum(one, 0)][:, [g]].toarray().ravel()
                for one, g in zip(lists, self.genre, strict=True)
            ]
        )
        return np.asarray((has * (lists >= 0)).mean(axis=1), dtype=np.float64)
