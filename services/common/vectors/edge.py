"""Qdrant Edge as a vector index: a shard is a directory of files, searched inside the process.

Facts of the engine (0.9.0) that shape this file; `python -m tests.bench index` measures the first two:
- No graph. The query of a listener is the mean of favourites from several clusters, and the songs around it are the
  ones that were heard: with the nearest points forbidden the engine's graph (HNSW) misses many of the next ones. A scan
  over 8-bit copies of the vectors, whose best are scored again in full, misses none, and is built in a fraction of the
  time. Its searches take longer as the catalogue grows.
- A filter on ids costs more than the scan: `HasIdCondition` takes a set of Python integers only and is asked at every
  point. So the scan is first asked without a filter for more points than needed; only when too few of them are allowed
  it is asked with the filter, and then at full precision: that far from the query scores lie too close for 8 bits.
- Search holds Python's lock: more threads give no more searches.
- Several processes may open a shard when it was created without a write-ahead log; opening rewrites some files with the
  same bytes, so the directory must be writable, and nothing in it changes.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import qdrant_edge as engine
from numpy.typing import NDArray

from services.common.vectors.index import PointIds, Query, SparseQuery, one_filter, unit

OVERFETCH: Final = 128
# Below this share of allowed points the over-fetch mostly fails.
SCARCE: Final = 0.1
# A shard of so few points is searched at full precision: the 8-bit copies would save nothing.
SMALL: Final = 2_000
# The 8-bit scan hands over so many points at the least, or twice the number asked for, to be scored in full. At 64
# dimensions 10 of 20 lost one neighbour in 150, 10 of 40 none.
_RESCORED: Final = 40
_SPARSE_NAME: Final = "sparse"
_WRITE_ROWS: Final = 1_000


class _KnownIds:
    """The set of the ids in the array that was asked with last: the arms of one playlist share one array."""

    def __init__(self) -> None:
        # One attribute, replaced as a whole: another thread sees the old pair or the new one, never half of each.
        self._last: tuple[PointIds | None, set[int]] = (None, set())

    def of(self, array: PointIds) -> set[int]:
        known, ids = self._last
        if known is not array:
            ids = set(array.tolist())
            self._last = (array, ids)
        return ids


_known = _KnownIds()


class EdgeIndex:
    """A published shard, opened for searching."""

    def __init__(self, shard: Any, *, points: int, dimension: int | None) -> None:
        """Made by `open`. `dimension` is None for a sparse shard."""
        self._shard = shard
        self._points = points
        self._dimension = dimension

    @classmethod
    def open(cls, directory: Path) -> "EdgeIndex":
        """Open the shard that `write_shard` left in `directory`. Raises FileNotFoundError where there is none."""
        config = directory / "edge_config.json"
        if not config.is_file():
            raise FileNotFoundError(f"no vector shard in {directory}; `animusic models build` makes one")
        dense = json.loads(config.read_text(encoding="utf-8"))["vectors"]
        shard = engine.EdgeShard.load(str(directory))
        return cls(shard, points=shard.info().points_count, dimension=dense[""]["size"] if dense else None)

    def search(
        self, query: Query, *, k: int, allowed: PointIds | None = None, forbidden: PointIds | None = None
    ) -> tuple[PointIds, NDArray[np.float32]]:
        """See `VectorIndex.search`. A generous search without a filter, then one with it where that falls short."""
        one_filter(allowed, forbidden)
        nearest = self._nearest(query)
        if allowed is None and forbidden is None:
            return _arrays(self._ask(nearest, k))
        allow = allowed is not None
        ids = _known.of(cast(PointIds, allowed if allow else forbidden))
        if self._worth_overfetching(k, len(ids) if allow else self._points - len(ids)):
            limit = max(OVERFETCH, 4 * k)
            near = self._ask(nearest, limit)
            fit = [point for point in near if (point.id in ids) is allow]
            # A sparse shard that returned less than it was asked for has nothing else that shares a column.
            if len(fit) >= k or (self._dimension is None and len(near) < limit):
                return _arrays(fit[:k])
        return _arrays(self._ask(nearest, k, _filter(ids, allow=allow)))

    def close(self) -> None:
        """Release the shard's files and memory."""
        self._shard.close()

    def _worth_overfetching(self, k: int, left: int) -> bool:
        return self._points > SMALL and left >= SCARCE * self._points and 4 * k < self._points

    def _nearest(self, query: Query) -> Any:
        if isinstance(query, tuple):
            if self._dimension is not None:
                raise ValueError("a sparse query was put to a dense shard")
            columns, weights = query
            sparse = engine.SparseVector(columns.tolist(), unit(weights).tolist())
            return engine.Query.Nearest(sparse, using=_SPARSE_NAME)
        if query.shape != (self._dimension,):
            raise ValueError(f"a query of shape {query.shape} was put to a shard of dimension {self._dimension}")
        return engine.Query.Nearest(unit(query).tolist())

    def _ask(self, nearest: Any, limit: int, condition: Any = None) -> list[Any]:
        precise = condition is not None or self._points <= SMALL
        rescore = engine.QuantizationSearchParams(rescore=True, oversampling=max(2.0, _RESCORED / limit))
        params = engine.SearchParams(exact=precise, quantization=rescore)
        found: list[Any] = self._shard.search(engine.SearchRequest(nearest, limit, filter=condition, params=params))
        return found


def write_shard(directory: Path, point_ids: PointIds, vectors: Any) -> None:
    """Write and optimise a shard of unit vectors; blocks for seconds, so it belongs into a job.

    `vectors`: float32 (n, d), or a scipy CSR of that shape; row i belongs to `point_ids[i]`. Stored at length 1.
    Raises ValueError on a row of zeros, and where `directory` already holds a shard.
    """
    sparse = not isinstance(vectors, np.ndarray)
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise ValueError(f"{directory} is not empty; a shard is never written in place, but beside the old one")
    shard = engine.EdgeShard.create(str(directory), _sparse_config() if sparse else _dense_config(vectors.shape[1]))
    try:
        for start in range(0, len(point_ids), _WRITE_ROWS):
            ids = point_ids[start : start + _WRITE_ROWS].tolist()
            block = vectors[start : start + _WRITE_ROWS]
            points = _sparse_points(ids, block) if sparse else _dense_points(ids, block)
            shard.update(engine.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
    finally:
        shard.close()
    # The first opening writes the engine's defaults into the shard's configuration: here, before any process reads it.
    engine.EdgeShard.load(str(directory)).close()


def sparse_row(raw: Any, row: int) -> SparseQuery:
    """Row `row` of a CSR as a query: (columns int32, weights float32)."""
    span = slice(raw.indptr[row], raw.indptr[row + 1])
    return raw.indices[span].astype(np.int32), raw.data[span].astype(np.float32)


def _dense_points(ids: Sequence[int], rows: NDArray[np.float32]) -> list[Any]:
    return [engine.Point(id, unit(row).tolist()) for id, row in zip(ids, rows, strict=True)]


def _sparse_points(ids: Sequence[int], rows: Any) -> list[Any]:
    points = []
    for position, id in enumerate(ids):
        columns, weights = sparse_row(rows, position)
        vector = engine.SparseVector(columns.tolist(), unit(weights).tolist())
        points.append(engine.Point(id, {_SPARSE_NAME: vector}))
    return points


def _dense_config(dimension: int) -> Any:
    return engine.EdgeConfig(
        vectors=engine.EdgeVectorParams(dimension, engine.Distance.Cosine, memory=engine.Memory.Cached),
        hnsw_config=engine.HnswIndexConfig(m=0, ef_construct=16, full_scan_threshold=100),
        quantization_config=engine.ScalarQuantizationConfig(engine.ScalarType.Int8, memory=engine.Memory.Pinned),
        **_common_config(),
    )


def _sparse_config() -> Any:
    # A threshold of 1: with the default, a filter on 3,000 ids was answered by a scan of 19 ms instead of 3.
    return engine.EdgeConfig(
        sparse_vectors={_SPARSE_NAME: engine.EdgeSparseVectorParams(full_scan_threshold=1)}, **_common_config()
    )


def _common_config() -> dict[str, Any]:
    # One segment is one scan a search; without the log several processes can open the shard; one search thread,
    # because several processes share the machine and a search takes about a millisecond.
    optimizers = engine.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=100)
    return {"optimizers": optimizers, "wal_enabled": False, "max_search_threads": 1}


def _filter(ids: set[int], *, allow: bool) -> Any:
    # The engine's type hints ask for an invariant set of int | UUID | str, and for a list of every kind of condition.
    conditions: list[Any] = [engine.HasIdCondition(cast(Any, ids))]
    return engine.Filter(must=conditions) if allow else engine.Filter(must_not=conditions)


def _arrays(points: Sequence[Any]) -> tuple[PointIds, NDArray[np.float32]]:
    count = len(points)
    ids = np.fromiter((point.id for point in points), np.uint64, count)
    return ids, np.fromiter((point.score for point in points), np.float32, count)
