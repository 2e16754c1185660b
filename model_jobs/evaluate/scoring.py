"""Arms as scores: for a liked song, or several, how near every song of the catalogue is."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from contracts.catalogue import Song
from model_jobs.model import Vectors

# Equal scores are put in order by chance, anew for each query: less than what float32 can tell two cosines apart by
# would not do, more would order unequal ones.
_TIE: Final = np.float32(1e-6)


class Scorer(Protocol):
    """An arm, asked offline. It holds no state that an answer changes, but for its own generator."""

    def scores(self, likes: NDArray[np.int64]) -> NDArray[np.float32]:
        """(queries, songs): for `likes` (queries, m), rows of the m songs liked; -inf for what the arm cannot pick."""
        ...


class Space:
    """A model's vectors: cosine to the mean of the liked songs' raw vectors, as a content arm serves. Exact search.

    `songs` fixes the rows; songs that the model left out are never picked, and a query of such songs finds nothing.
    """

    def __init__(self, songs: Sequence[Song], vectors: Vectors, seed: int = 0) -> None:
        row_of = {song.song_id: row for row, song in enumerate(songs)}
        rows = np.array([row_of[song_id] for song_id in vectors.song_ids], dtype=np.int64)
        self._rng = np.random.default_rng([seed, 7])
        self._known = np.zeros(len(songs), dtype=np.bool_)
        self._known[rows] = True
        self._raw: Any
        if vectors.dense:
            self._raw = np.zeros((len(songs), vectors.raw.shape[1]), dtype=np.float32)
            self._raw[rows] = vectors.raw
            self._unit: Any = self._raw / _lengths(np.linalg.norm(self._raw, axis=1))[:, None]
        else:
            order = scipy.sparse.csr_array(
                (np.ones(len(rows), np.float32), (rows, np.arange(len(rows)))), (len(songs), len(rows))
            )
            self._raw = scipy.sparse.csr_array(order @ vectors.raw)
            self._unit = _scaled(self._raw).T.tocsr()

    def scores(self, likes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Cosines, equal ones in random order."""
        total = _totals(self._raw, likes)
        if isinstance(total, np.ndarray):
            total /= _lengths(np.linalg.norm(total, axis=1))[:, None]
            scores = np.asarray(total @ self._unit.T)
        else:
            scores = (_scaled(total) @ self._unit).toarray().astype(np.float32, copy=False)
        scores += _TIE * self._rng.random(scores.shape, dtype=np.float32)
        scores[:, ~self._known] = -np.inf
        scores[~self._known[likes].any(axis=1)] = -np.inf
        return scores


class RandomArm:
    """Every song alike: what chance finds."""

    def __init__(self, songs: int, seed: int | Sequence[int] = 0) -> None:
        self._songs, self._rng = songs, np.random.default_rng(seed)

    def scores(self, likes: NDArray[np.int64]) -> NDArray[np.float32]:
        """A number in [0, 1) for each song."""
        return self._rng.random((len(likes), self._songs), dtype=np.float32)


class PopularArm:
    """One order for every listener: views descending, unknown last, then MyAnimeList's popularity rank, then id."""

    def __init__(self, songs: Sequence[Song]) -> None:
        order = sorted(range(len(songs)), key=lambda row: (_unpopularity(songs[row]), songs[row].song_id))
        self._scores = np.empty(len(songs), dtype=np.float32)
        self._scores[order] = -np.arange(len(songs), dtype=np.float32)

    def scores(self, likes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Minus the place in the order, whatever is liked."""
        return np.repeat(self._scores[None, :], len(likes), axis=0)


def views_of(song: Song) -> int | None:
    """The most views that a link of the song has; None where unknown."""
    return max((link.views for link in song.links if link.views is not None), default=None)


def rank_of(song: Song) -> int | None:
    """The best popularity rank, 1 = first, of the anime that the song is in; None where unknown."""
    return min((each.anime.popularity for each in song.appearances if each.anime.popularity), default=None)


def _unpopularity(song: Song) -> tuple[bool, int, bool, int]:
    views, rank = views_of(song), rank_of(song)
    return views is None, -(views or 0), rank is None, rank or 0


def _totals(raw: Any, likes: NDArray[np.int64]) -> Any:
    """The sum of each query's rows, which points where their mean does."""
    queries, each = likes.shape
    starts = np.arange(0, queries * each + 1, each)
    picks = scipy.sparse.csr_array((np.ones(likes.size, np.float32), likes.ravel(), starts), (queries, raw.shape[0]))
    return picks @ raw


def _lengths(norms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Norms to divide by: a row of zeros stays one."""
    return np.where(norms > 0, norms, np.float32(1))


def _scaled(rows: Any) -> Any:
    norms = _lengths(np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel()))
    return scipy.sparse.csr_array(scipy.sparse.diags_array(1 / norms) @ rows)
