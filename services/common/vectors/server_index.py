"""Reads a collection of a Qdrant server: searches it (the second adapter of `VectorIndex`), or reads it whole.

A client belongs to the event loop in which it was made. `ask` is for that loop; `search`, which blocks, is for other
threads, such as a job's. edge.py explains the search parameters.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from qdrant_client import AsyncQdrantClient, models

from contracts.models import LiveModel
from services.common.vectors.index import Found, PointIds, Query, SparseQuery, one_filter, unit
from services.common.vectors.server import SPARSE_NAME, Connect, check_complete, pages

OVERFETCH: Final = 128
_RESCORED: Final = 40
_SEARCH_SECONDS: Final = 60.0


class ServerIndex:
    """One collection, opened for searching."""

    def __init__(self, client: AsyncQdrantClient, record: LiveModel, loop: asyncio.AbstractEventLoop) -> None:
        """`client` was made in `loop`, and outlives the index."""
        self._client = client
        self._record = record
        self._loop = loop

    def search(
        self, query: Query, *, k: int, allowed: PointIds | None = None, forbidden: PointIds | None = None
    ) -> Found:
        """See `VectorIndex.search`. Raises RuntimeError in the client's own loop, which would wait for itself."""
        if _running_loop() is self._loop:
            raise RuntimeError("a blocking search in the client's own event loop never returns; await ask()")
        request = self.ask(query, k=k, allowed=allowed, forbidden=forbidden)
        return asyncio.run_coroutine_threadsafe(request, self._loop).result(_SEARCH_SECONDS)

    async def ask(
        self, query: Query, *, k: int, allowed: PointIds | None = None, forbidden: PointIds | None = None
    ) -> Found:
        """See `RemoteIndex.ask`. A generous search without a filter, then one with it where that falls short.

        Thousands of ids cost more to send than a hundred points to fetch.
        """
        one_filter(allowed, forbidden)
        nearest = self._nearest(query)
        if allowed is not None:
            return await self._query_within(nearest, k, allowed, allow=True)
        if forbidden is not None:
            return await self._query_within(nearest, k, forbidden, allow=False)
        return await self._query_points(nearest, k)

    def close(self) -> None:
        """Nothing to close: the client belongs to its owner."""

    async def _query_within(self, nearest: Any, k: int, ids: PointIds, *, allow: bool) -> Found:
        points, scores = await self._query_points(nearest, max(OVERFETCH, 4 * k))
        fit = np.isin(points, ids, invert=not allow)
        if np.count_nonzero(fit) >= k:
            return points[fit][:k], scores[fit][:k]
        return await self._query_points(nearest, k, _filter(ids, allow=allow))

    def _nearest(self, query: Query) -> Any:
        dense = self._record.vectors == "dense"
        if isinstance(query, tuple):
            if dense:
                raise ValueError("a sparse query was put to a dense collection")
            columns, weights = query
            return models.SparseVector(indices=columns.tolist(), values=unit(weights).tolist())
        if not dense or query.shape != (self._record.dimension,):
            raise ValueError(f"a query of shape {query.shape} was put to {self._record.collection}")
        return unit(query).tolist()

    async def _query_points(self, nearest: Any, limit: int, condition: models.Filter | None = None) -> Found:
        answer = await self._client.query_points(
            self._record.collection,
            query=nearest,
            using=None if self._record.vectors == "dense" else SPARSE_NAME,
            query_filter=condition,
            search_params=_params(limit, precise=condition is not None),
            limit=limit,
            with_payload=False,
        )
        count = len(answer.points)
        # The client's types allow for UUIDs; every point of ours has a number.
        ids = np.fromiter((int(point.id) for point in answer.points), np.uint64, count)
        return ids, np.fromiter((point.score for point in answer.points), np.float32, count)


@contextmanager
def blocking_index(connect: Connect, record: LiveModel) -> Iterator[ServerIndex]:
    """A collection for code that blocks: the client runs in a thread of its own for as long as the block lasts."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="qdrant client", daemon=True)
    thread.start()
    connection = connect()
    try:
        client = asyncio.run_coroutine_threadsafe(connection.__aenter__(), loop).result()
        try:
            yield ServerIndex(client, record, loop)
        finally:
            asyncio.run_coroutine_threadsafe(connection.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _params(limit: int, *, precise: bool) -> models.SearchParams:
    """8-bit copies are scanned for `precise` False. Far from the query scores lie too close for that."""
    rescore = models.QuantizationSearchParams(rescore=True, oversampling=max(2.0, _RESCORED / limit))
    return models.SearchParams(exact=precise, quantization=rescore)


def _filter(ids: PointIds, *, allow: bool) -> models.Filter:
    condition = models.HasIdCondition(has_id=ids.tolist())
    return models.Filter(must=[condition]) if allow else models.Filter(must_not=[condition])


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


# The client takes some 10 ms to decode as many points, in which the event loop does nothing else.
_READ_ROWS: Final = 200
_LOOK_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Rows:
    """A collection read whole, by song id. `raw`: float32 (n, d) or a CSR of that shape, not normalised."""

    song_ids: list[str]
    raw: NDArray[np.float32] | Any


@dataclass(frozen=True)
class Page:
    """Some points as they were read. `vectors`: float32 (n, d), or n pairs of (columns, weights); at length 1."""

    song_ids: list[str]
    lengths: NDArray[np.float32]
    vectors: Any


async def read_collection(client: AsyncQdrantClient, record: LiveModel) -> list[Page]:
    """All points of a version, for `assembled`. The event loop is never held for longer than a page takes.

    Raises IncompleteCollectionError where the version is not, or not whole, on the server; or one of FAULTS.
    """
    async with asyncio.timeout(_LOOK_SECONDS):
        await check_complete(client, record)
    return [_page(points) async for points in pages(client, record.collection, _READ_ROWS, whole=True)]


def assembled(read: Sequence[Page], record: LiveModel) -> Rows:
    """The rows of a version, by song id."""
    song_ids = [song_id for page in read for song_id in page.song_ids]
    order = sorted(range(len(song_ids)), key=song_ids.__getitem__)
    lengths = np.concatenate([page.lengths for page in read])[order]
    if record.vectors == "dense":
        rows = np.concatenate([page.vectors for page in read])[order]
        raw: Any = rows * (lengths / np.linalg.norm(rows, axis=1))[:, None]
    else:
        vectors = [vector for page in read for vector in page.vectors]
        raw = _csr([vectors[at] for at in order], lengths, record.dimension)
    return Rows([song_ids[at] for at in order], raw)


def _page(points: Sequence[Any]) -> Page:
    song_ids = [point.payload["song_id"] for point in points]
    lengths = np.array([point.payload["length"] for point in points], dtype=np.float32)
    if points and isinstance(points[0].vector, list):
        return Page(song_ids, lengths, np.array([point.vector for point in points], dtype=np.float32))
    return Page(song_ids, lengths, [_sparse_pair(point.vector[SPARSE_NAME]) for point in points])


def _sparse_pair(vector: models.SparseVector) -> SparseQuery:
    return np.array(vector.indices, dtype=np.int32), np.array(vector.values, dtype=np.float32)


def _csr(vectors: Sequence[SparseQuery], lengths: NDArray[np.float32], dimension: int) -> Any:
    import scipy.sparse

    counts = [len(columns) for columns, _ in vectors]
    columns = np.concatenate([columns for columns, _ in vectors])
    values = np.concatenate([values for _, values in vectors]) * np.repeat(lengths, counts)
    starts = np.concatenate([[0], np.cumsum(counts)])
    rows = scipy.sparse.csr_array((values, columns, starts), (len(vectors), dimension))
    rows.sort_indices()
    return rows
