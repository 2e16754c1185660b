"""Measures of a ranking, and what chance does to them.

All arrays have one row a query. A figure is the mean over queries; its interval is the percentile bootstrap of Efron
(1979): queries are drawn again with replacement, 2,000 times, and the middle 95 % of the means are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 2_000
LEVEL: Final = 0.95
_SPREAD: Final = 1.959964
# How many numbers are drawn at once: 8 bytes each.
_AT_ONCE: Final = 4_000_000

Values = NDArray[np.floating]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval. `n`: queries that it is over."""

    value: float
    low: float
    high: float
    n: int

    def apart_from(self, other: "Interval") -> bool:
        """Whether the two intervals have no point in common."""
        return self.low > other.high or other.low > self.high


def bootstrap(values: Values, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The mean of `values` (n,) and its percentile interval. Raises ValueError when there are none."""
    means = _resampled_means(values[:, None], seed, resamples)[:, 0]
    return _percentiles(float(np.mean(values)), means, len(values))


def bootstrap_ratio(values: Values, base: Values, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The ratio of two means over the same queries, drawn again together: how many times `base` is `values`.

    Raises ValueError when `base` is 0 throughout.
    """
    if not np.any(base):
        raise ValueError("a ratio to something that is 0 for every query says nothing")
    means = _resampled_means(np.stack([values, base], axis=1), seed, resamples)
    ratios = means[:, 0] / np.maximum(means[:, 1], np.finfo(np.float64).tiny)
    return _percentiles(float(np.mean(values) / np.mean(base)), ratios, len(values))


def bootstrap_spread(
    statistic: Callable[[NDArray[np.int64]], float], queries: int, *, seed: int = 0, resamples: int = 200
) -> Interval:
    """Of a statistic that is no mean: its value ± 1.96 of the bootstrap's standard deviations.

    `statistic` takes the rows of the queries that count. For coverage and the like percentiles would be wrong: a
    resample holds two thirds of the queries, so it covers less than they all do.
    """
    rng = np.random.default_rng(seed)
    value = statistic(np.arange(queries))
    again = [statistic(rng.integers(0, queries, queries)) for _ in range(resamples)]
    half = _SPREAD * float(np.std(again))
    return Interval(value, value - half, value + half, queries)


def _resampled_means(values: Values, seed: int, resamples: int) -> NDArray[np.float64]:
    """(resamples, columns): means of the columns of `values` over rows drawn again with replacement."""
    if not len(values):
        raise ValueError("nothing was asked, so there is nothing to resample")
    rng = np.random.default_rng(seed)
    at_once = max(1, _AT_ONCE // values.size)
    means = []
    for start in range(0, resamples, at_once):
        rows = rng.integers(0, len(values), (min(at_once, resamples - start), len(values)))
        means.append(values[rows].mean(axis=1, dtype=np.float64))
    return np.concatenate(means)


def _percentiles(value: float, means: NDArray[np.float64], n: int) -> Interval:
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), n)


def best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """(queries, k): the columns with the highest scores, the highest first; -1 where fewer than k are above -inf."""
    k = min(k, scores.shape[1])
    found = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    picked = np.take_along_axis(scores, found, axis=1)
    order = np.argsort(-picked, axis=1, kind="stable")
    found, picked = np.take_along_axis(found, order, axis=1), np.take_along_axis(picked, order, axis=1)
    return np.where(np.isneginf(picked), -1, found)


@dataclass(frozen=True)
class Retrieved:
    """Of each query (n,): how much of what is relevant was found among the first k.

    Attributes:
        precision: relevant songs of the first k, by k, also where fewer than k are relevant.
        recall: relevant songs of the first k, by all that are relevant.
        hit: 1 when one of the first k is relevant, else 0. The mean is the hit rate.
        reciprocal_rank: 1 / rank of the first relevant song, over the whole ranking. The mean is MRR.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    hit: NDArray[np.float64]
    reciprocal_rank: NDArray[np.float64]

    def intervals(self, seed: int = 0) -> dict[str, Interval]:
        """By measure, mean and bootstrap interval."""
        return {name: bootstrap(values, seed=seed) for name, values in vars(self).items()}


def retrieved(scores: NDArray[np.float32], relevant: NDArray[np.bool_], k: int) -> Retrieved:
    """What a ranking finds. Both arrays are (queries, songs); a song with score -inf cannot be found.

    Every query needs something relevant. Ties are for the caller to break: of equal scores any may come first.
    """
    found = best(scores, k)
    hits = np.take_along_axis(relevant, np.maximum(found, 0), axis=1) & (found >= 0)
    first = np.max(scores, axis=1, where=relevant, initial=-np.inf)
    rank = 1 + np.count_nonzero(scores > first[:, None], axis=1)
    return Retrieved(
        precision=hits.sum(axis=1) / k,
        recall=hits.sum(axis=1) / np.maximum(relevant.sum(axis=1), 1),
        hit=hits.max(axis=1).astype(np.float64),
        reciprocal_rank=np.where(np.isneginf(first), 0.0, 1.0 / rank),
    )


def means_of_listed(values: NDArray[np.float32], found: NDArray[np.int64]) -> NDArray[np.float64]:
    """(queries,): the mean of `values` (queries, songs) over the songs of each list; 0 for an empty list."""
    listed = np.take_along_axis(values, np.maximum(found, 0), axis=1) * (found >= 0)
    return np.asarray(listed.sum(axis=1) / np.maximum((found >= 0).sum(axis=1), 1), dtype=np.float64)


def coverage(lists: NDArray[np.int64], songs: int) -> float:
    """The share of the catalogue that is in some list. `lists`: (listeners, k) rows of songs, -1 for none."""
    return len(np.unique(lists[lists >= 0])) / songs


def gini(lists: NDArray[np.int64], songs: int) -> float:
    """How unevenly places in the lists fall on the songs: 0 = all alike, 1 = all on one (half the relative mean
    absolute difference, from sorted counts).
    """
    counts = np.sort(np.bincount(lists[lists >= 0], minlength=songs)).astype(np.float64)
    if not counts.sum():
        return 0.0
    ranks = np.arange(1, songs + 1)
    return float(2 * (ranks @ counts) / (songs * counts.sum()) - (songs + 1) / songs)


def overlap(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """(listeners,): Jaccard index of two lists a listener, (listeners, k) each: songs in both by songs in either."""
    both = ((one[:, :, None] == other[:, None, :]) & (one[:, :, None] >= 0)).any(axis=2).sum(axis=1)
    either = (one >= 0).sum(axis=1) + (other >= 0).sum(axis=1) - both
    return np.asarray(both / np.maximum(either, 1), dtype=np.float64)


def percentiles(values: Values) -> NDArray[np.float64]:
    """(songs,): the share of known values that a value is above, ties half; NaN stays NaN. The mean is 0.5."""
    known = ~np.isnan(values)
    ordered = np.sort(values[known])
    below, upto = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return np.where(known, (below + upto) / (2 * max(1, len(ordered))), np.nan)
