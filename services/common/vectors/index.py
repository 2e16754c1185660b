"""The interface of vector indexes: one protocol, one adapter per store, one test suite for all."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

PointIds = NDArray[np.uint64]
# A dense query is one row of float32; a sparse one is (columns, weights), both of the same length.
SparseQuery = tuple[NDArray[np.int32], NDArray[np.float32]]
Query = NDArray[np.float32] | SparseQuery
# Points and their cosines, descending.
Found = tuple[PointIds, NDArray[np.float32]]


class VectorIndex(Protocol):
    """Nearest songs of one collection by cosine."""

    def search(
        self, query: Query, *, k: int, allowed: PointIds | None = None, forbidden: PointIds | None = None
    ) -> Found:
        """The `k` nearest points among those allowed: (ids, cosine scores descending), both of length ≤ k.

        At most one of `allowed` and `forbidden` may be given: give the shorter list. Fewer than `k` come back when
        fewer are allowed; a sparse collection also leaves out points that share no column with the query (their cosine
        is 0). The query need not be normalised. The arrays are taken as fixed: never change them after the call.

        Raises ValueError when both lists are given, or when the query is all zeros or of another dimension.
        """
        ...

    def close(self) -> None:
        """Release files and memory. The index answers nothing afterwards."""
        ...


@runtime_checkable
class RemoteIndex(VectorIndex, Protocol):
    """An index on another machine: `search` waits for it, so whoever serves many at once awaits `ask` instead."""

    async def ask(
        self, query: Query, *, k: int, allowed: PointIds | None = None, forbidden: PointIds | None = None
    ) -> Found:
        """`search`, awaited. Raises what the way there raises, beside."""
        ...


def one_filter(allowed: PointIds | None, forbidden: PointIds | None) -> None:
    """Raises ValueError when both lists are given: an adapter can use only one of them well."""
    if allowed is not None and forbidden is not None:
        raise ValueError("give allowed or forbidden, not both: the shorter list of the two")


def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """`values` at length 1, so that a dot product with a stored unit vector is a cosine. Raises ValueError on zeros."""
    norm = float(np.linalg.norm(values))
    if not norm > 0 or not np.isfinite(norm):
        raise ValueError("a query of zeros, or with NaN, has no nearest songs")
    return np.asarray(values / np.float32(norm), dtype=np.float32)
