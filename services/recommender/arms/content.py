"""The content arms: the open song whose vector is nearest to the listener's."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from services.common.vectors.index import Query
from services.recommender.arms.base import Ask, LeftOut, Narrowing, Pick
from services.recommender.models import BoundModel, Vector

# How many candidates a query brings: enough for five earlier picks with popular anime to close some of them.
CANDIDATES: Final = 8


class ContentArm:
    """An arm that queries the collection of its own name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def pick(self, ask: Ask) -> Pick | None:
        """The nearest open song that the model knows. Raises LeftOut when no model of this arm is live here."""
        model = ask.models.get(self.name)
        if model is None:
            raise LeftOut("not_built", ask.left_out.get(self.name, not_built(self.name)))
        if not (ask.open & model.known).any():
            return None
        vector = ask.vector_of(model).vector
        for row, score in self._candidates(ask, model, vector):
            if ask.open[row]:
                return Pick(row, score, 1.0, model.version)
        return None

    def _candidates(self, ask: Ask, model: BoundModel, vector: Vector) -> Iterator[tuple[int, float]]:
        """Songs by falling cosine. Three steps, each only when the one before brought nothing open.

        First the eligible set, which all arms share; then what the earlier picks left open of it; then a full
        computation, because an index may miss songs (a graph search is approximate, and a sparse one passes over
        songs without a word in common).
        """
        query = model.model.query(vector)
        if query is None:
            vector, query = model.model.mean, model.model.query(model.model.mean)
        if query is not None:
            yield from self._search(ask, model, query, ask.narrowing)
            yield from self._search(ask, model, query, Narrowing(ask.catalogue, ask.open))
        yield from _computed(ask, model, vector)

    def _search(self, ask: Ask, model: BoundModel, query: Query, narrowing: Narrowing) -> Iterator[tuple[int, float]]:
        ask.queries[self.name] = ask.queries.get(self.name, 0) + 1
        points, scores = model.model.index.search(query, k=CANDIDATES, **narrowing.filter(model))
        rows = ask.catalogue.rows_of_points(points)
        return ((row, score) for row, score in zip(rows.tolist(), scores.tolist(), strict=True) if row >= 0)


def _computed(ask: Ask, model: BoundModel, vector: Vector) -> Iterator[tuple[int, float]]:
    rows = model.catalogue_rows
    left = np.flatnonzero((rows >= 0) & ask.open[rows])
    if len(left):
        scores = model.model.scores(vector, left.astype(np.int32))
        best = int(np.argmax(scores))
        yield int(rows[left[best]]), float(scores[best])


def not_built(arm: str) -> str:
    """What to do about an arm without a model."""
    return f"not built: animusic models build {arm}"
