"""What every adapter of `VectorIndex` must do. A new adapter adds one subclass that says how to make its index."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.sparse
from numpy.typing import NDArray

from services.common.vectors.index import VectorIndex

Opened = Callable[[Any, Any], AbstractContextManager[VectorIndex]]
POINTS, DIMENSION, CLUSTERS, VOCABULARY = 3_000, 48, 30, 800


def clustered(rng: np.random.Generator, points: int = POINTS, dimension: int = DIMENSION) -> NDArray[np.float32]:
    centres = rng.normal(size=(CLUSTERS, dimension))
    chosen = centres[rng.integers(0, CLUSTERS, points)]
    lengths = rng.uniform(0.5, 3.0, size=(points, 1))
    return np.asarray(lengths * (chosen + 0.6 * rng.normal(size=chosen.shape)), dtype=np.float32)


def bags_of_words(rng: np.random.Generator, points: int = POINTS, vocabulary: int = VOCABULARY) -> Any:
    rows = np.repeat(np.arange(points), 12)
    columns = np.minimum(rng.zipf(1.3, size=len(rows)) - 1, vocabulary - 1)
    weights = rng.uniform(0.5, 4.0, size=len(rows)).astype(np.float32)
    return scipy.sparse.coo_array((weights, (rows, columns)), shape=(points, vocabulary)).tocsr()


def point_ids(rng: np.random.Generator, points: int = POINTS) -> NDArray[np.uint64]:
    return rng.choice(2**62, size=points, replace=False).astype(np.uint64)


def dense_of(query: Any) -> NDArray[np.float32]:
    if not isinstance(query, tuple):
        return np.asarray(query)
    full = np.zeros(VOCABULARY, dtype=np.float32)
    full[query[0]] = query[1]
    return full


def cosines(vectors: Any, query: Any) -> NDArray[np.float32]:
    full = dense_of(query)
    lengths = np.sqrt(np.asarray((vectors**2).sum(axis=1)).ravel())
    return np.asarray(vectors @ full / (lengths * np.linalg.norm(full)), dtype=np.float32)


class Conformance:
    """The suite. `case` is (index, ids, vectors, queries); every test runs on dense and on sparse vectors."""

    QUERIES: ClassVar[int] = 25

    @classmethod
    def opened(cls, ids: NDArray[np.uint64], vectors: Any, tmp: Any) -> AbstractContextManager[VectorIndex]:
        raise NotImplementedError

    @pytest.fixture(scope="class", params=["dense", "sparse"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
        rng = np.random.default_rng(7)
        ids = point_ids(rng)
        vectors = clustered(rng) if request.param == "dense" else bags_of_words(rng)
        picked = rng.integers(0, POINTS, size=(cls.QUERIES, 5))
        queries = [_sum_of(vectors, rows) for rows in picked]
        with cls.opened(ids, vectors, tmp_path_factory.mktemp("index")) as index:
            yield index, ids, vectors, queries

    def test_equals_an_exact_search(self, case) -> None:
        index, ids, vectors, queries = case
        found = [_recall(index.search(query, k=10), ids, cosines(vectors, query), 10) for query in queries]
        assert np.mean(found) >= 0.99

    def test_scores_are_cosines_descending(self, case) -> None:
        index, ids, vectors, queries = case
        row_of = {int(id): row for row, id in enumerate(ids)}
        for query in queries[:5]:
            got, scores = index.search(query, k=20)
            truth = cosines(vectors, query)[[row_of[int(id)] for id in got]]
            assert got.dtype == np.uint64 and scores.dtype == np.float32
            np.testing.assert_allclose(scores, truth, atol=2e-5)
            assert (np.diff(scores) <= 1e-6).all()

    def test_the_length_of_a_query_does_not_matter(self, case) -> None:
        index, _, _, queries = case
        query = queries[0]
        longer = (query[0], query[1] * np.float32(40)) if isinstance(query, tuple) else query * np.float32(40)
        np.testing.assert_allclose(index.search(query, k=10)[1], index.search(longer, k=10)[1], atol=2e-5)

    @pytest.mark.parametrize("many", [1, 40, 600, 1_500])
    def test_forbidden_points_near_the_query_never_come_and_the_next_ones_do(self, case, many: int) -> None:
        index, ids, vectors, queries = case
        found = []
        for query in queries:
            truth = cosines(vectors, query)
            forbidden = ids[np.argsort(-truth)[:many]]
            result = index.search(query, k=10, forbidden=forbidden)
            assert not np.isin(result[0], forbidden).any()
            found.append(_recall(result, ids, np.where(np.isin(ids, forbidden), -2, truth), 10))
        assert np.mean(found) >= 0.99

    @pytest.mark.parametrize("many", [1, 9, 100, 700, 1_500])
    def test_only_allowed_points_come(self, case, many: int) -> None:
        index, ids, vectors, queries = case
        rng = np.random.default_rng(many)
        found = []
        for query in queries:
            allowed = rng.choice(ids, many, replace=False)
            result = index.search(query, k=10, allowed=allowed)
            assert np.isin(result[0], allowed).all()
            found.append(_recall(result, ids, np.where(np.isin(ids, allowed), cosines(vectors, query), -2), 10))
        assert np.mean(found) >= 0.99

    def test_a_list_that_leaves_nothing_gives_nothing(self, case) -> None:
        index, ids, _, queries = case
        assert len(index.search(queries[0], k=10, allowed=np.empty(0, np.uint64))[0]) == 0
        assert len(index.search(queries[0], k=10, forbidden=ids)[0]) == 0

    def test_an_empty_forbidden_list_forbids_nothing(self, case) -> None:
        index, _, _, queries = case
        nothing = np.empty(0, np.uint64)
        found, expected = index.search(queries[1], k=10, forbidden=nothing)[0], index.search(queries[1], k=10)[0]
        np.testing.assert_array_equal(found, expected)

    def test_both_lists_and_empty_queries_are_refused(self, case) -> None:
        index, ids, vectors, queries = case
        with pytest.raises(ValueError, match="not both"):
            index.search(queries[0], k=10, allowed=ids[:5], forbidden=ids[5:9])
        empty = (np.empty(0, np.int32), np.empty(0, np.float32))
        zeros = np.zeros(DIMENSION, np.float32) if isinstance(vectors, np.ndarray) else empty
        with pytest.raises(ValueError, match="zeros"):
            index.search(zeros, k=10)


def _sum_of(vectors: Any, rows: NDArray[np.int64]) -> Any:
    total = np.asarray(vectors[rows].sum(axis=0), dtype=np.float32).ravel()
    if isinstance(vectors, np.ndarray):
        return total
    columns = np.flatnonzero(total)
    return columns.astype(np.int32), total[columns]


def _recall(result: Any, ids: NDArray[np.uint64], truth: NDArray[np.float32], k: int) -> float:
    """Share of the true `k` best that came; equal scores may take each other's place, scores of 0 need not come."""
    wanted = np.sort(truth[truth > -1.5])[::-1][:k]
    wanted = wanted[wanted > 1e-6] if (truth[truth > -1.5] >= 0).all() else wanted
    if not len(wanted):
        return 1.0
    return min(1.0, float((result[1] >= wanted[-1] - 2e-5).sum()) / len(wanted))
