"""Queries to an arm: songs like this one, and lists for listeners, by exact search over all songs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.catalogue import Song
from model_jobs.evaluate.metrics import Retrieved, best, means_of_listed, retrieved
from model_jobs.evaluate.scoring import Scorer, Space
from model_jobs.evaluate.traits import Shared, values_of
from model_jobs.evaluate.withhold import Field
from model_jobs.model import Vectors

K: Final = 10
QUERIES: Final = 2_000
# Queries scored at once; a block is a few arrays of (queries, songs): 15 MB each at 14,885 songs.
_BLOCK: Final = 256

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Candidates:
    """The songs of an evaluation, and which of them may be found.

    Attributes:
        anime: songs that share an anime. titles: songs of one title, versions of one song mostly.
    """

    songs: Sequence[Song]
    anime: Shared
    titles: Shared

    @classmethod
    def of(cls, songs: Sequence[Song]) -> "Candidates":
        """Of songs in any order; their order fixes the rows."""
        return cls(songs, Shared(values_of(songs, "anime")), Shared(values_of(songs, "title")))

    def open_to(self, likes: Rows, *, elsewhere: bool) -> Mask:
        """(queries, songs), for `likes` (queries, m): all songs but those liked, those of the same title and,
        `elsewhere`, those that share an anime with a liked one.
        """
        shut = np.zeros((len(likes), len(self.songs)), dtype=np.bool_)
        for column in likes.T:
            shut |= self.titles.any(column)
            if elsewhere:
                shut |= self.anime.any(column)
        np.put_along_axis(shut, likes, True, axis=1)
        return ~shut

    def scored(
        self, scorer: Scorer, likes: Rows, *, elsewhere: bool
    ) -> Iterator[tuple[Rows, NDArray[np.float32], Mask]]:
        """By block of queries: their numbers, their scores (-inf where a song is no candidate), the candidates."""
        for numbers in blocks(np.arange(len(likes))):
            open_ = self.open_to(likes[numbers], elsewhere=elsewhere)
            yield numbers, np.where(open_, scorer.scores(likes[numbers]), np.float32(-np.inf)), open_

    def lists(self, scorer: Scorer, likes: Rows, *, elsewhere: bool = False, k: int = K) -> Rows:
        """(queries, k): the arm's list for each query, the best first; -1 where it has no more."""
        found = [best(scores, k) for _, scores, _ in self.scored(scorer, likes, elsewhere=elsewhere)]
        return np.concatenate(found) if found else np.empty((0, k), dtype=np.int64)


@dataclass(frozen=True)
class Likeness:
    """The question "which songs share `field` with this one?", its queries drawn once for all arms.

    Attributes:
        elsewhere: songs of the same anime are no candidates.
        queries: rows of songs that some candidate shares the field with.
        having: how many songs have the field at all.
    """

    field: Field
    elsewhere: bool
    candidates: Candidates
    shared: Shared
    queries: Rows
    having: int

    @classmethod
    def draw(
        cls, candidates: Candidates, field: Field, *, elsewhere: bool = False, queries: int = QUERIES, seed: int = 0
    ) -> "Likeness":
        """At most `queries` songs, drawn at random among those with something to find."""
        shared = Shared(values_of(candidates.songs, field))
        having = np.flatnonzero(shared.sizes > 0)
        drawn: list[int] = []
        for rows in blocks(np.random.default_rng([seed, 1]).permutation(having)):
            if len(drawn) >= queries:
                break
            something = shared.any(rows) & candidates.open_to(rows[:, None], elsewhere=elsewhere)
            drawn.extend(rows[something.any(axis=1)].tolist())
        return cls(field, elsewhere, candidates, shared, np.array(drawn[:queries], dtype=np.int64), len(having))

    def retrieval(self, scorer: Scorer, k: int = K) -> Retrieved:
        """What the arm finds of what shares the field. Raises ValueError when no song has anything to find."""
        parts = []
        for rows, scores, open_ in self._scored(scorer):
            parts.append(retrieved(scores, self.shared.any(rows) & open_, k))
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return Retrieved(*(np.concatenate(column) for column in columns))

    def coherence(self, scorer: Scorer, k: int = K) -> NDArray[np.float64]:
        """(queries,): mean Jaccard index of the field's values between a song and its k nearest."""
        parts = [
            means_of_listed(self.shared.jaccard(rows), best(scores, k)) for rows, scores, _ in self._scored(scorer)
        ]
        return np.concatenate(parts)

    def _scored(self, scorer: Scorer) -> Iterator[tuple[Rows, NDArray[np.float32], Mask]]:
        if not len(self.queries):
            raise ValueError(f"no two songs of this catalogue share a value of {self.field}")
        for numbers, scores, open_ in self.candidates.scored(scorer, self.queries[:, None], elsewhere=self.elsewhere):
            yield self.queries[numbers], scores, open_


def retrieval(
    songs: Sequence[Song],
    vectors: Vectors,
    field: Field,
    *,
    elsewhere: bool = False,
    k: int = K,
    queries: int = QUERIES,
    seed: int = 0,
) -> Retrieved:
    """How well vectors find songs that share `field`: one row a query, the same queries for the same songs and seed.

    `songs` say who shares what; for an honest figure `vectors` are a model's of `withhold(songs, field)`. Candidates
    are all songs but the query and those of its title; `elsewhere`, also without those of its anime.
    `.intervals(seed)` gives means with bootstrap intervals. Raises ValueError when no two songs share the field.
    """
    question = Likeness.draw(Candidates.of(songs), field, elsewhere=elsewhere, queries=queries, seed=seed)
    return question.retrieval(Space(songs, vectors, seed), k)


def blocks(rows: Rows) -> Iterator[Rows]:
    """`rows` in pieces that are scored at once."""
    for start in range(0, len(rows), _BLOCK):
        yield rows[start : start + _BLOCK]
