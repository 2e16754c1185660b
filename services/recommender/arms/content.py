"""The content arms: the open song whose vector is nearest to the listener's."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from services.common.vectors.index import Query
from services.recommender.arms.base import Ask, LeftOut, Narrowing, Pick
from services.recommender.models import BoundModel, Vector

# How many songs the first query brings, whoever may hear them: more cost hardly more, and spare the second.
NEAREST: Final = 64
# How many of the eligible songs: enough for five earlier picks with popular anime to close some of them.
NARROWED: Final = 8


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
        row, score = next(self._candidates(ask, model, vector))
        return Pick(row, score, 1.0, model.version)

    def _candidates(self, ask: Ask, model: BoundModel, vector: Vector) -> Iterator[tuple[int, float]]:
        """Open songs by falling cosine, at least one. A step is taken only when those before brought nothing.

        First the nearest songs of all, which cost the least: mostly one of them is open. Then the nearest of the
        eligible set, which all arms share; then of what the earlier picks left of it; then a full computation, because
        an index may miss songs (a graph search is approximate, a sparse one passes over songs without a common word).
        """
        query = model.model.query(vector)
        if query is None:
            vector, query = model.model.mean, model.model.query(model.model.mean)
        if query is not None and not model.model.wide(query):
            yield from self._search(ask, model, query, NEAREST)
            yield from self._search(ask, model, query, NARROWED, ask.narrowing)
            yield from self._search(ask, model, query, NARROWED, Narrowing(ask.catalogue, ask.open))
        yield from _computed(ask, model, vector)

    def _search(
        self, ask: Ask, model: BoundModel, query: Query, k: int, narrowing: Narrowing | None = None
    ) -> Iterator[tuple[int, float]]:
        ask.queries[self.name] = ask.queries.get(self.name, 0) + 1
        within = narrowing.filter(model) if narrowing else {}
        points, scores = model.model.index.search(query, k=k, **within)
        rows = ask.catalogue.rows_of_points(points)
        is_open = ask.open[rows] & (rows >= 0)
        return zip(rows[is_open].tolist(), scores[is_open].tolist(), strict=True)


def _computed(ask: Ask, model: BoundModel, vector: Vector) -> Iterator[tuple[int, float]]:
    left = np.flatnonzero((model.catalogue_rows >= 0) & ask.open[model.catalogue_rows])
    if len(left):
        scores = model.model.scores(vector)[left]
        best = int(np.argmax(scores))
        yield int(model.catalogue_rows[left[best]]), float(scores[best])


def not_built(arm: str) -> str:
    """What to do about an arm without a model."""
    return f"not built: animusic models build {arm}"
