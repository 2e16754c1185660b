"""The questions of an evaluation, each asked of every arm in the same words and with the same draws."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from model_jobs.evaluate.asking import Candidates, K, Likeness
from model_jobs.evaluate.figures import Candidates as Which
from model_jobs.evaluate.figures import Figure
from model_jobs.evaluate.listeners import Listeners
from model_jobs.evaluate.metrics import bootstrap, bootstrap_ratio, bootstrap_spread, coverage, gini, overlap
from model_jobs.evaluate.popularity import Popularity
from model_jobs.evaluate.scoring import Scorer
from model_jobs.evaluate.withhold import Field

RANDOM: Final = "random"
RETRIEVED: Final[tuple[Field, ...]] = ("franchise", "composer", "artist")
COHERENT: Final[tuple[Field, ...]] = ("tags", "genres")

_MEASURES: Final = (f"precision@{K}", f"recall@{K}", f"hit@{K}", "MRR")
_ONE_GENRE: Final = "three liked songs of one genre"
_TOGETHER: Final = "what all listeners get together"
_OVERLAP: Final = "lists of two arms for the same listener"


class Question(Protocol):
    """Something to ask of an arm. `withheld`: the field that models are built without."""

    @property
    def withheld(self) -> Field | None:
        """The field."""
        ...

    def ask(self, arm: str, scorer: Scorer) -> list[Figure]:
        """The arm's figures."""
        ...


def which(*, elsewhere: bool) -> Which:
    """How a figure names its candidates."""
    return "other anime" if elsewhere else "all"


@dataclass(frozen=True)
class Retrieval:
    """Given a song: which songs are of the same franchise, by the same composer, by the same artist?"""

    likeness: Likeness
    seed: int

    @property
    def withheld(self) -> Field:
        """What is looked for."""
        return self.likeness.field

    def ask(self, arm: str, scorer: Scorer) -> list[Figure]:
        """precision@10, recall@10, hit@10 and MRR."""
        found = self.likeness.retrieval(scorer).intervals(self.seed).values()
        about = f"songs of the same {self.withheld}", self.withheld, which(elsewhere=self.likeness.elsewhere)
        return [Figure(*about, measure, arm, each) for measure, each in zip(_MEASURES, found, strict=True)]


@dataclass(frozen=True)
class Coherence:
    """Given a song: how many tags (genres) do the nearest songs share with it?"""

    likeness: Likeness
    seed: int

    @property
    def withheld(self) -> Field:
        """What is compared."""
        return self.likeness.field

    def ask(self, arm: str, scorer: Scorer) -> list[Figure]:
        """The mean Jaccard index of the ten nearest songs' values."""
        values = self.likeness.coherence(scorer)
        about = f"{self.withheld} of the nearest songs", self.withheld, which(elsewhere=self.likeness.elsewhere)
        return [Figure(*about, f"coherence@{K} (Jaccard)", arm, bootstrap(values, seed=self.seed))]


@dataclass(frozen=True)
class OneGenre:
    """Listeners who liked three songs of one genre: how much of what they get has it?

    The random arm is asked first: the others are stated as multiples of it, over the same listeners.
    """

    candidates: Candidates
    listeners: Listeners
    elsewhere: bool
    seed: int
    by_chance: list[NDArray[np.float64]] = field(default_factory=list)
    withheld: Field = "genres"

    def ask(self, arm: str, scorer: Scorer) -> list[Figure]:
        """precision@10 of the genre, and how many times the random arm's that is."""
        lists = self.candidates.lists(scorer, self.listeners.likes, elsewhere=self.elsewhere)
        values = self.listeners.of_their_genre(lists)
        about = _ONE_GENRE, self.withheld, which(elsewhere=self.elsewhere)
        figures = [Figure(*about, f"precision@{K}", arm, bootstrap(values, seed=self.seed))]
        if arm == RANDOM:
            self.by_chance.append(values)
        elif self.by_chance and self.by_chance[0].any():
            times = bootstrap_ratio(values, self.by_chance[0], seed=self.seed)
            figures.append(Figure(*about, "times random", arm, times))
        return figures


@dataclass(frozen=True)
class Spread:
    """What the same listeners get from models of all fields: how much of the catalogue, and what of it.

    `notes` takes a sentence for what cannot be measured.
    """

    candidates: Candidates
    listeners: Listeners
    popularity: Popularity
    seed: int
    notes: list[str]
    lists: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    withheld: None = None

    def ask(self, arm: str, scorer: Scorer) -> list[Figure]:
        """Coverage, Gini, popularity, novelty, and the overlap with each arm that was asked before."""
        lists = self.lists[arm] = self.candidates.lists(scorer, self.listeners.likes)
        return [*self._spread(arm, lists), *self._popularity(arm, lists), *self._overlaps(arm)]

    def _spread(self, arm: str, lists: NDArray[np.int64]) -> Iterator[Figure]:
        songs = len(self.candidates.songs)
        for name, statistic in (("coverage", coverage), ("Gini", gini)):
            interval = bootstrap_spread(partial(_of_rows, statistic, lists, songs), len(lists), seed=self.seed)
            interval = replace(interval, low=max(0.0, interval.low), high=min(1.0, interval.high))
            yield Figure(_TOGETHER, "", "all", name, arm, interval, method="normal")

    def _popularity(self, arm: str, lists: NDArray[np.int64]) -> Iterator[Figure]:
        for name, values in self.popularity.of_lists(lists).items():
            if not len(values):
                self.notes.append(f"{arm} picks no song whose popularity is known: {name} is not measured for it")
                continue
            yield Figure(_TOGETHER, "", "all", name, arm, bootstrap(values, seed=self.seed))

    def _overlaps(self, arm: str) -> Iterator[Figure]:
        for other, lists in self.lists.items():
            if other != arm:
                shared = bootstrap(overlap(self.lists[arm], lists), seed=self.seed)
                yield Figure(_OVERLAP, "", "all", f"overlap@{K} (Jaccard)", arm, shared, other)


def _of_rows(
    statistic: Callable[[NDArray[np.int64], int], float],
    lists: NDArray[np.int64],
    songs: int,
    rows: NDArray[np.int64],
) -> float:
    return statistic(lists[rows], songs)
