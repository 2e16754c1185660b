"""Reading a collection of a Qdrant server whole: song ids and rows as the model made them, lengths restored."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from qdrant_client import AsyncQdrantClient, models

from contracts.models import LiveModel
from services.common.vectors.index import SparseQuery
from services.common.vectors.server import SPARSE_NAME, check_complete, pages

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
