"""A live collection: its raw vectors, its index, and its mapping to the catalogue's rows.

Every vector of a listener is a dense float64 array of the model's dimension (the vocabulary's size for a sparse one).
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from contracts.models import LiveModel
from services.common.vectors.edge import EdgeIndex
from services.common.vectors.index import PointIds, Query, RemoteIndex, VectorIndex
from services.common.vectors.published import load_published, points_of
from services.recommender.catalogue import Catalogue, Mask, Rows

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient

Vector = NDArray[np.float64]

# Norms below this are rounding errors of sums, and count as zero.
_NOTHING: Final = 1e-9
_SKETCH: Final = 32
_SKETCH_SAMPLE: Final = 4_000
_SHORTLIST: Final = 48
_SCAN_SHARE: Final = 0.1
_COMMON: Final = 0.1
_COMMON_AT_LEAST: Final = 50


class ServedModel:
    """One version of one arm's collection, opened. `row_of`: song id -> row of the raw vectors."""

    def __init__(self, record: LiveModel, song_ids: list[str], raw: Any, index: VectorIndex) -> None:
        self.record = record
        self.song_ids = song_ids
        # A plain view of the mapped file: small reads through numpy's memmap cost ten times as much.
        self.raw: Any = raw if scipy.sparse.issparse(raw) else np.asarray(raw)
        self.index = index
        # Set if the index is remote; then `index.search` must not be called.
        self.remote: RemoteIndex | None = index if isinstance(index, RemoteIndex) else None
        self.row_of: Mapping[str, int] = {song_id: row for row, song_id in enumerate(song_ids)}
        self.points: PointIds = points_of(song_ids)
        self.sparse = bool(scipy.sparse.issparse(raw))

    @property
    def dimension(self) -> int:
        """The dimension of its vectors; the vocabulary's size if sparse."""
        return int(self.raw.shape[1])

    def rows_of(self, song_ids: Iterable[str]) -> Rows:
        """The rows of those of the songs that the model knows, ascending."""
        found = map(self.row_of.get, song_ids)
        return np.sort(np.fromiter((row for row in found if row is not None), dtype=np.int32))

    def total(self, rows: Rows) -> Vector:
        """The sum of raw vectors, in float64, so that adding and removing a song restores the sum."""
        if self.sparse:
            picked = self.raw[rows]
            counted = np.bincount(picked.indices, weights=picked.data, minlength=self.dimension)
            return np.asarray(counted, dtype=np.float64)
        return np.asarray(np.add.reduce(self.raw[rows], axis=0, dtype=np.float64))

    @cached_property
    def mean(self) -> Vector:
        """The catalogue's mean, the vector of an unknown listener."""
        return self.total(np.arange(len(self.song_ids), dtype=np.int32)) / max(1, len(self.song_ids))

    def query(self, vector: Vector) -> Query | None:
        """The vector as a query of its index; None for a zero vector."""
        if self.sparse:
            columns = np.flatnonzero(np.abs(vector) > _NOTHING).astype(np.int32)
            return (columns, vector[columns].astype(np.float32)) if len(columns) else None
        asked = vector.astype(np.float32)
        return asked if np.linalg.norm(asked) > _NOTHING else None

    @cached_property
    def _sketch(self) -> NDArray[np.float32] | None:
        """The rows projected to a few principal axes (uncentred); None if rows are short."""
        if self.sparse or self.dimension <= 2 * _SKETCH:
            return None
        sample = np.asarray(self.raw[:: max(1, len(self.song_ids) // _SKETCH_SAMPLE)])
        _, axes = np.linalg.eigh(sample.T @ sample)
        return np.asarray(self.raw @ axes[:, -_SKETCH:], dtype=np.float32)

    def top_contributors(self, row: int, among: Rows, count: int) -> Rows:
        """The `count` rows of `among` whose products with `row` are largest and above 0, the largest first.

        Long rows are ranked by a sketch first, and only the best are computed in full: reading 2,000 rows of 768
        numbers would cost as much as the query did.
        """
        sketch = self._sketch
        if sketch is not None and len(among) > _SHORTLIST:
            among = among[largest(sketch[among] @ sketch[row], _SHORTLIST)]
        weights = self._products(row, among)
        among, weights = among[weights > 0], weights[weights > 0]
        return among[largest(weights, count)]

    def _products(self, row: int, among: Rows) -> Vector:
        if self.sparse:
            return self._sparse_products(row)[among]
        return np.asarray(self.raw[among] @ self.raw[row], dtype=np.float64)

    def _sparse_products(self, row: int) -> Vector:
        """Products of one sparse row with all rows, word by word: a song has few words.

        A word of more than one song in ten is skipped: it says little, and its list is long.
        """
        of_song = slice(self.raw.indptr[row], self.raw.indptr[row + 1])
        starts = self._columns.indptr
        total = np.zeros(len(self.song_ids))
        for word, weight in zip(self.raw.indices[of_song].tolist(), self.raw.data[of_song].tolist(), strict=True):
            if self._postings[word] <= max(_COMMON_AT_LEAST, _COMMON * len(total)):
                songs = slice(starts[word], starts[word + 1])
                total[self._columns.indices[songs]] += weight * self._columns.data[songs]
        return total

    @cached_property
    def _columns(self) -> Any:
        """The raw rows by column: the songs of each word."""
        return self.raw.tocsc()

    def warm(self) -> "ServedModel":
        """Compute the cached properties now, so that no request waits for them."""
        _ = self.mean, self._sketch, self._norms
        if self.sparse:
            _ = self._postings, self._columns
        return self

    def prefers_scan(self, query: Query) -> bool:
        """Whether a sparse index would read much of the collection for this query.

        Then a scan of the raw rows is cheaper: for the joined text of 1,000 songs 0.3 ms instead of 3, for the
        catalogue's mean 0.3 instead of 16 (14,885 songs, 22,040 words).
        """
        return isinstance(query, tuple) and int(self._postings[query[0]].sum()) > _SCAN_SHARE * self.raw.nnz

    @cached_property
    def _postings(self) -> NDArray[np.int64]:
        """How many songs have each column of a sparse model."""
        return np.asarray(np.diff(self._columns.indptr), dtype=np.int64)

    @cached_property
    def _norms(self) -> NDArray[np.float32]:
        squares = self.raw.multiply(self.raw).sum(axis=1) if self.sparse else np.einsum("ij,ij->i", self.raw, self.raw)
        return np.sqrt(np.asarray(squares, dtype=np.float32).ravel())

    def scores(self, vector: Vector) -> NDArray[np.float32]:
        """The cosine of `vector` with every row, computed in full; 0 for a row of zeros."""
        asked = (vector / (np.linalg.norm(vector) or 1.0)).astype(np.float32)
        products = np.asarray(self.raw @ asked, dtype=np.float32)
        return np.asarray(np.divide(products, self._norms, out=np.zeros_like(products), where=self._norms > 0))


@dataclass(frozen=True)
class BoundModel:
    """A model mapped to one catalogue snapshot.

    Attributes:
        catalogue_rows: (model rows,) catalogue row, -1 for a song that left the catalogue.
        known: (catalogue rows,) bool, true where the model has the song; it lacks newer songs.
        strangers: points of the collection whose songs are not in the catalogue.
    """

    model: ServedModel
    catalogue_rows: Rows
    known: Mask
    unknown_points: PointIds

    @property
    def version(self) -> str:
        """16 hex digits."""
        return self.model.record.version


def bind(model: ServedModel, catalogue: Catalogue) -> BoundModel:
    """Map a model to a catalogue snapshot."""
    rows = catalogue.rows_of_points(model.points)
    known = np.zeros(len(catalogue), dtype=np.bool_)
    known[rows[rows >= 0]] = True
    return BoundModel(model, rows, known, model.points[rows < 0])


def open_model(record: LiveModel, vectors_dir: Path) -> ServedModel:
    """Open a published version. Blocks while its shard loads.

    Raises FileNotFoundError if it does not exist, ValueError if its directory holds another version.
    """
    published = load_published(vectors_dir / record.collection)
    if published.record.version != record.version:
        raise ValueError(f"{record.collection} holds version {published.record.version}; build it again")
    return ServedModel(published.record, published.song_ids, published.raw, EdgeIndex.open(published.shard)).warm()


def open_from_server(record: LiveModel, client: "AsyncQdrantClient", loop: asyncio.AbstractEventLoop) -> ServedModel:
    """Open a version on a Qdrant server: the rows are copied, the index stays there. Blocks; do not call it in `loop`.

    `client` belongs to `loop`. Raises IncompleteCollectionError if the version is not complete (yet), and the
    client's errors if the server does not answer.
    """
    # Imported here: the client takes a second and 30 MB, and one machine alone needs none of it.
    from services.common.vectors.server_index import ServerIndex, assembled, read_collection

    pages = asyncio.run_coroutine_threadsafe(read_collection(client, record), loop).result()
    rows = assembled(pages, record)
    return ServedModel(record, rows.song_ids, rows.raw, ServerIndex(client, record, loop)).warm()


def largest(weights: NDArray[Any], count: int) -> NDArray[np.intp]:
    """The positions of the `count` largest weights, the largest first."""
    if len(weights) <= count:
        return np.argsort(-weights, kind="stable")
    top = np.argpartition(-weights, count - 1)[:count]
    return top[np.argsort(-weights[top], kind="stable")]
