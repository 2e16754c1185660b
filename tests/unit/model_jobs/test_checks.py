"""Vectors that are not fit to be served are found, each by its own check."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse

from collectors.synthetic import synthetic_songs
from model_jobs.checks import CheckFailedError, check_index, check_vectors
from model_jobs.model import Vectors
from services.common.vectors.index import PointIds

SONGS = synthetic_songs(60)
IDS = [song.song_id for song in SONGS]
GOOD = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)


def changed(row: int, value: float) -> np.ndarray:
    rows = GOOD.copy()
    rows[row] = value
    return rows


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        (Vectors(IDS, changed(5, np.nan), {}), "NaN"),
        (Vectors(IDS, changed(5, 0.0), {}), "zeros"),
        (Vectors(IDS, scipy.sparse.csr_array(changed(5, 0.0)), {}), "zeros"),
        (Vectors(IDS[1:], GOOD[1:], {}), "neither a vector nor a reason"),
        (Vectors([*IDS[1:], IDS[1]], GOOD, {}), "60 rows for 59"),
        (Vectors(IDS, GOOD[:10], {}), "10 rows for 60"),
        (Vectors([], GOOD[:0], {}), "no vectors"),
    ],
)
def test_bad_vectors(vectors: Vectors, says: str) -> None:
    with pytest.raises(CheckFailedError, match=says):
        check_vectors(SONGS, vectors)


def test_good_vectors_and_songs_with_a_reason() -> None:
    check_vectors(SONGS, Vectors(IDS, GOOD, {}))
    check_vectors(SONGS, Vectors(IDS[1:], scipy.sparse.csr_array(GOOD[1:]), {IDS[0]: "no word"}))


class ScanIndex:
    """An exact index in memory, with a fault put into its answers."""

    def __init__(
        self, points: PointIds, fault: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    ) -> None:
        self._points, self._fault = points, fault
        self._unit = GOOD / np.linalg.norm(GOOD, axis=1, keepdims=True)

    def search(self, query, *, k, allowed=None, forbidden=None):
        scores = self._unit @ (query / np.linalg.norm(query))
        if forbidden is not None:
            scores[np.isin(self._points, forbidden)] = -2
        best = np.argsort(-scores)[:k]
        return self._fault(self._points[best], scores[best].astype(np.float32))

    def close(self) -> None:
        """Nothing is open."""


def test_an_index_is_asked_for_itself_and_for_its_recall() -> None:
    points = np.arange(60, dtype=np.uint64)
    vectors = Vectors(IDS, GOOD, {})
    assert check_index(ScanIndex(points, lambda ids, scores: (ids, scores)), points, vectors) == 1.0
    with pytest.raises(CheckFailedError, match="own nearest"):
        check_index(ScanIndex(points, lambda ids, scores: (ids[1:], scores[1:])), points, vectors)
    with pytest.raises(CheckFailedError, match="exact search"):
        check_index(ScanIndex(points, lambda ids, scores: (ids[:9], scores[:9])), points, vectors)
    with pytest.raises(CheckFailedError, match="missing among"):
        check_index(ScanIndex(points, lambda ids, scores: (ids + np.uint64(100), scores)), points, vectors)
