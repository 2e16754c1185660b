"""Checks before a collection is published. A collection that fails is deleted, and the live one stays."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.catalogue import Song
from model_jobs.model import Vectors
from services.common.vectors.edge import sparse_row
from services.common.vectors.index import PointIds, Query, VectorIndex

RECALL: Final = 0.99
_TOP: Final = 10
_ASKED_FOR_ITSELF: Final = 1_000
_ASKED_FOR_RECALL: Final = 100
# Cosines of float32 rows differ in the sixth place between an index and a matrix product.
_SAME: Final = 2e-5


class CheckFailedError(RuntimeError):
    """A collection is not fit to be published; the message says what is wrong with it."""


def check_vectors(songs: Sequence[Song], vectors: Vectors) -> None:
    """Every song has a row or a reason; no NaN, no infinity, no row of zeros. Raises CheckFailedError."""
    rows, dimension = vectors.raw.shape
    if rows == 0 or dimension == 0:
        raise CheckFailedError("the model has no vectors at all")
    if rows != len(vectors.song_ids) or len(set(vectors.song_ids)) != rows:
        raise CheckFailedError(f"{rows} rows for {len(set(vectors.song_ids))} different songs")
    if {song.song_id for song in songs} != set(vectors.song_ids) | set(vectors.left_out):
        raise CheckFailedError("some songs have neither a vector nor a reason why not")
    if not np.isfinite(vectors.raw if vectors.dense else vectors.raw.data).all():
        raise CheckFailedError("some vectors hold NaN or infinity")
    if not (_lengths(vectors.raw) > 0).all():
        raise CheckFailedError("some vectors are all zeros")


def check_index(index: VectorIndex, point_ids: PointIds, vectors: Vectors) -> float:
    """Every asked song finds itself, and the index finds what an exact search finds. Returns recall@10 in [0, 1].

    Asks all songs of a small catalogue and a fixed sample of a large one. Raises CheckFailedError.
    """
    rng = np.random.default_rng(0)
    _check_finds_itself(index, point_ids, vectors, _sample(rng, len(point_ids), _ASKED_FOR_ITSELF))
    rows = _sample(rng, len(point_ids), _ASKED_FOR_RECALL)
    exact = _Exact(vectors)
    # Listeners ask with the mean of their favourites, which lies between clusters: harder than a song itself.
    asked = [(_query(vectors, row), row) for row in rows] + [(_mean_query(vectors, rng), row) for row in rows]
    recall = float(
        np.mean([_recall(index, exact, point_ids, query, _tenth(rng, len(point_ids), row)) for query, row in asked])
    )
    if recall < RECALL:
        raise CheckFailedError(f"the index finds {recall:.3f} of what an exact search finds, less than {RECALL}")
    return recall


def _check_finds_itself(index: VectorIndex, point_ids: PointIds, vectors: Vectors, rows: NDArray[np.int64]) -> None:
    for row in rows:
        found, scores = index.search(_query(vectors, row), k=_TOP)
        # Songs with one and the same vector may take each other's place: then the best score is still 1.
        if not len(found) or scores[0] < 1 - 1e-4:
            raise CheckFailedError(f"the song {vectors.song_ids[row]} is not its own nearest neighbour")
        if point_ids[row] not in found and (len(found) < _TOP or scores[-1] < 1 - 1e-4):
            raise CheckFailedError(f"the song {vectors.song_ids[row]} is missing among its own neighbours")


def _recall(
    index: VectorIndex, exact: "_Exact", point_ids: PointIds, query: Query, forbidden: NDArray[np.int64]
) -> float:
    """Recall@10 with rows forbidden; equal scores may take each other's place."""
    truth = exact.cosines(query)
    truth[forbidden] = -2.0
    # A sparse index does not return songs that share no word with the query.
    best = np.sort(truth[truth > (-1.5 if exact.dense else 1e-6)])[::-1][:_TOP]
    if not len(best):
        return 1.0
    _, scores = index.search(query, k=_TOP, forbidden=point_ids[forbidden])
    return min(1.0, float((scores >= best[-1] - _SAME).sum()) / len(best))


class _Exact:
    """The search that an index is measured against: the cosine with every row."""

    def __init__(self, vectors: Vectors) -> None:
        self.dense = vectors.dense
        self._raw, self._lengths = vectors.raw, _lengths(vectors.raw)

    def cosines(self, query: Query) -> NDArray[np.float32]:
        """By row, float32 (n,)."""
        if isinstance(query, tuple):
            full = np.zeros(self._raw.shape[1], dtype=np.float32)
            full[query[0]] = query[1]
        else:
            full = query
        return np.asarray(self._raw @ full / (self._lengths * np.linalg.norm(full)), dtype=np.float32)


def _tenth(rng: np.random.Generator, rows: int, row: int) -> NDArray[np.int64]:
    """One row in ten at random, and `row`."""
    return np.unique(np.append(rng.choice(rows, rows // 10, replace=False), row))


def _query(vectors: Vectors, row: int) -> Query:
    if vectors.dense:
        dense: NDArray[np.float32] = vectors.raw[row]
        return dense
    return sparse_row(vectors.raw, row)


def _mean_query(vectors: Vectors, rng: np.random.Generator) -> Query:
    rows = rng.choice(len(vectors.song_ids), min(5, len(vectors.song_ids)), replace=False)
    mean = np.asarray(vectors.raw[rows].mean(axis=0), dtype=np.float32).ravel()
    if vectors.dense:
        return mean
    columns = np.flatnonzero(mean)
    return columns.astype(np.int32), mean[columns]


def _lengths(raw: Any) -> NDArray[np.float32]:
    squares = np.einsum("ij,ij->i", raw, raw) if isinstance(raw, np.ndarray) else (raw * raw).sum(axis=1)
    return np.sqrt(np.asarray(squares, dtype=np.float32).ravel())


def _sample(rng: np.random.Generator, rows: int, at_most: int) -> NDArray[np.int64]:
    return np.arange(rows) if rows <= at_most else rng.choice(rows, at_most, replace=False)
