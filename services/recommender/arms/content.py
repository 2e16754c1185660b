"""The four content arms, listed at the end: each picks the open song whose vector is nearest to the listener's."""

from collections.abc import Iterator
from typing import Final, TypeGuard

import numpy as np

from services.common.vectors.index import PointIds, Query
from services.recommender.arms.base import LeftOut, Pick, PickRequest, PointFilter
from services.recommender.models import BoundModel, ServedModel, Vector, largest
from services.recommender.profile_vectors import Nearest, ProfileVector

# Songs of the first query, which include heard ones. More songs cost little and often avoid the second query.
NEAREST: Final = 64
# Songs of a filtered query: enough to find an open one after five earlier picks of popular anime.
NEAREST_ELIGIBLE: Final = 8


class ContentArm:
    """An arm that queries the collection of its own name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def pick(self, request: PickRequest) -> Pick | None:
        """The nearest open song that the model knows. Raises LeftOut if no model of this arm is open."""
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
        """Open songs by descending cosine, at least one. Each step runs only if the steps before found nothing.

        The first step takes the nearest of all songs: it is the cheapest, and usually one of them is open. Then come
        the nearest of the eligible songs, and the nearest of the open songs. The last step computes all scores, because
        an index may miss songs (a graph search is approximate, a sparse one skips songs without a common word).
        An index on a server was queried before (prefetch.py) and is not queried again; the rest is computed.
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
    """Whether the model's index is in this process, and faster than a scan of the raw rows."""
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
    """Why an arm has no model, and what to do."""
    return f"not built: animusic models build {arm}"


CONTENT: Final = (
    # Embedding of a song's text by all-mpnet-base-v2, 768 dimensions.
    ContentArm("mpnet"),
    # The same by all-MiniLM-L6-v2, 384 dimensions.
    ContentArm("minilm"),
    # Embedding of a song's node in the graph of songs, anime, people and tags.
    ContentArm("node2vec"),
    # tf-idf of a song's words (title, credits, tags, anime).
    ContentArm("tfidf"),
)
