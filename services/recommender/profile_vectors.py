"""Profile vectors: a listener's taste as one vector in each model's space, updated incrementally.

Dense: the mean of the raw vectors of the favoured songs. Sparse: the mean of their tf-idf rows, which has the direction
of the tf-idf vector of their joined text. Sums are cached per (listener, arm, version), so a like adds one row.
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from services.common.byte_cache import ByteCache
from services.common.vectors.index import PointIds
from services.recommender.catalogue import Rows
from services.recommender.cold_start import ColdStart
from services.recommender.models import ServedModel, Vector

Nearest = tuple[PointIds, NDArray[np.float32]]

CACHE_BYTES: Final = 256 << 20


@dataclass
class ProfileVector:
    """A listener's vector in one model's space; the same object while favourites, cold start and model do not change.

    Attributes:
        rows: the model's rows of the favoured songs in the vector.
        source: `favoured`, `list` (the cold start's songs contribute) or `mean` (nothing is known of the listener).
        nearest: (points, cosines descending) of the songs nearest to it, eligible or not. It is cached here, because a
            skip or another playlist does not change it.
    """

    vector: Vector
    rows: Rows
    source: Literal["favoured", "list", "mean"]
    nearest: Nearest | None = None


@dataclass
class _Sum:
    """The favoured songs of a listener in one model: their ids, their rows, the sum of the rows."""

    favoured: Set[str]
    rows: Rows
    total: Vector
    cold: ColdStart | None = None
    mixed: ProfileVector | None = None

    def size(self) -> int:
        """In bytes, with the vector that is mixed from it."""
        return 1_000 + self.rows.nbytes + 2 * self.total.nbytes


class _Moved:
    """The difference of two sets of favourites."""

    def __init__(self, old: Set[str], new: Set[str]) -> None:
        self.old, self.new = old, new
        self.added, self.removed = new - old, old - new


class ProfileVectors:
    """Vectors of listeners, from cached sums."""

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self._sums: ByteCache[tuple[str, str, str], _Sum] = ByteCache("profile_vectors", cache_bytes, _Sum.size)
        self._means: dict[str, ProfileVector] = {}
        self._last_moved = _Moved(frozenset(), frozenset())

    def vector(self, user_id: str, model: ServedModel, favoured: Set[str], cold: ColdStart) -> ProfileVector:
        """The listener's vector in this model: the favourites, mixed with the cold start's songs.

        If the model has none of the favourites, the cold start's songs alone; without those, the model's mean.
        """
        kept = self._sum(user_id, model, favoured)
        if kept.mixed is None or kept.cold != cold:
            kept.cold, kept.mixed = cold, self._mixed(kept, model, cold)
        return kept.mixed

    def _mixed(self, kept: _Sum, model: ServedModel, cold: ColdStart) -> ProfileVector:
        stand_ins = model.rows_of(cold.songs) if cold.weight > 0 or not len(kept.rows) else kept.rows[:0]
        if not len(kept.rows) and not len(stand_ins):
            return self._mean(model)
        if not len(stand_ins):
            return ProfileVector(kept.total / len(kept.rows), kept.rows, "favoured")
        listed = model.total(stand_ins) / len(stand_ins)
        if not len(kept.rows):
            return ProfileVector(listed, kept.rows, "list")
        mixed = (1 - cold.weight) * (kept.total / len(kept.rows)) + cold.weight * listed
        return ProfileVector(mixed, kept.rows, "list")

    def _mean(self, model: ServedModel) -> ProfileVector:
        """The model's mean, one object for all listeners."""
        known = self._means.get(model.record.arm)
        if known is None or known.vector is not model.mean:
            known = ProfileVector(model.mean, model.rows_of(()), "mean")
            self._means[model.record.arm] = known
        return known

    def favoured_rows(self, user_id: str, model: ServedModel, favoured: Set[str]) -> Rows:
        """The rows of the model of a listener's favoured songs, ascending."""
        return self._sum(user_id, model, favoured).rows

    def _sum(self, user_id: str, model: ServedModel, favoured: Set[str]) -> _Sum:
        key = (user_id, model.record.arm, model.record.version)
        kept = self._sums.get(key)
        if kept is not None and kept.favoured is favoured:
            return kept
        moved = None if kept is None else self._moved(kept.favoured, favoured)
        kept = _summed(model, favoured) if kept is None or moved is None else _updated(kept, model, moved)
        self._sums.put(key, kept)
        return kept

    def _moved(self, old: Set[str], new: Set[str]) -> _Moved:
        """Computed once for all arms: they ask in turn with the same two sets."""
        if self._last_moved.old is not old or self._last_moved.new is not new:
            self._last_moved = _Moved(old, new)
        return self._last_moved


def _summed(model: ServedModel, favoured: Set[str]) -> _Sum:
    rows = model.rows_of(favoured)
    return _Sum(favoured, rows, model.total(rows))


def _updated(kept: _Sum, model: ServedModel, moved: _Moved) -> _Sum:
    if 2 * (len(moved.added) + len(moved.removed)) >= len(moved.new):
        return _summed(model, moved.new)
    added, removed = model.rows_of(moved.added), model.rows_of(moved.removed)
    rows, total = kept.rows, kept.total
    if len(added):
        rows, total = np.insert(rows, np.searchsorted(rows, added), added), total + model.total(added)
    if len(removed):
        rows, total = np.delete(rows, np.searchsorted(rows, removed)), total - model.total(removed)
    return _Sum(moved.new, rows, total)
