"""The four content arms, listed at the end: each picks the open song whose vector is nearest to the listener's."""

from collections.abc import Iterator
from typing import Final, TypeGuard

import numpy as np

from services.common.vectors.index import PointIds, Query
from services.recommender.arms.base import LeftOut, Pick, PickRequest, PointFilter
from services.recommender.models import BoundModel, ServedModel, Vector, largest
from services.recommender.profile_vectors import Nearest, ProfileVector

# How many songs the first query asks for, heard ones among them: more cost hardly more, and spare the second.
NEAREST: Final = 64
# How many of the eligible songs: enough for five earlier picks with popular anime to close some of them.
NEAREST_ELIGIBLE: Final = 8


class ContentArm:
    """An arm that queries the collection of its own name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def pick(self, request: PickRequest) -> Pick | None:
        """The nearest open song that the model knows. Raises LeftOut when no model of this arm is live here."""
        model = request.models.get(self.name)
        if model is None:
            raise LeftOut("not_built", request.left_out.get(self.name, not_built(self.name)))
        if not (request.open & model.known).any():
            return None
        row, score = next(self._candidates(request, model, request.vector_of(model)))
        return Pick(row, score, 1.0, model.version)

    def _candidates(
        self, request: PickRequest, model: BoundModel, profile: ProfileVector
    ) -> Iterator[tuple[int, float]]:
        """Open songs by falling cosine, at least one. A step is taken only when those before found nothing.

        First the nearest songs of all, which cost the least: mostly one of them is open. Then the nearest of the
        eligible set, which all arms share; then of what the earlier picks left of it; then a full computation, because
        an index may miss songs (a graph search is approximate, a sparse one passes over songs without a common word).
        An index on a server was asked before (prefetch.py): it is not asked again, and what it did not answer is
        computed.
        """
        query = None
        if profile.nearest is None:
            query = model.model.query(profile.vector)
            profile.nearest = self._nearest(request, model, profile.vector, query)
        yield from _open(request, profile.nearest)
        query = model.model.query(profile.vector) if query is None else query
        if _searchable(query, model.model):
            for point_filter in (request.point_filter, PointFilter(request.catalogue, request.open)):
                yield from _open(
                    request, self._search(request, model, query, NEAREST_ELIGIBLE, **point_filter.filter(model))
                )
        yield from _computed(request, model, profile.vector)

    def _nearest(self, request: PickRequest, model: BoundModel, vector: Vector, query: Query | None) -> Nearest:
        if _searchable(query, model.model):
            return self._search(request, model, query, NEAREST)
        scores = model.model.scores(vector)
        best = largest(scores, NEAREST)
        return model.model.points[best], scores[best]

    def _search(self, request: PickRequest, model: BoundModel, query: Query, k: int, **within: PointIds) -> Nearest:
        request.queries[self.name] = request.queries.get(self.name, 0) + 1
        return model.model.index.search(query, k=k, **within)


def _searchable(query: Query | None, model: ServedModel) -> TypeGuard[Query]:
    """Whether the model's index can be asked here and now, and answers faster than a pass over the raw rows."""
    return query is not None and model.remote is None and not model.prefers_scan(query)


def _open(request: PickRequest, found: Nearest) -> Iterator[tuple[int, float]]:
    points, scores = found
    rows = request.catalogue.rows_of_points(points)
    is_open = request.open[rows] & (rows >= 0)
    return zip(rows[is_open].tolist(), scores[is_open].tolist(), strict=True)


def _computed(request: PickRequest, model: BoundModel, vector: Vector) -> Iterator[tuple[int, float]]:
    left = np.flatnonzero((model.catalogue_rows >= 0) & request.open[model.catalogue_rows])
    if len(left):
        scores = model.model.scores(vector)[left]
        best = int(np.argmax(scores))
        yield int(model.catalogue_rows[left[best]]), float(scores[best])


def not_built(arm: str) -> str:
    """What to do about an arm without a model."""
    return f"not built: animusic models build {arm}"


CONTENT: Final = (
    # The meaning of a song's text as all-mpnet-base-v2 reads it, 768 dimensions.
    ContentArm("mpnet"),
    # The same as all-MiniLM-L6-v2 reads it, 384 dimensions.
    ContentArm("minilm"),
    # Where a song stands in the graph of songs, anime, people and tags.
    ContentArm("node2vec"),
    # The words of a song - title, credits, tags, anime - against those of the favoured songs' joined text.
    ContentArm("tfidf"),
)
