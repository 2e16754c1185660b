"""Measures of a ranking, against answers worked by hand; intervals against samples whose truth is known."""

import numpy as np
import pytest

from model_jobs.evaluate.metrics import (
    best,
    bootstrap,
    bootstrap_ratio,
    bootstrap_spread,
    coverage,
    gini,
    means_of_listed,
    overlap,
    percentiles,
    retrieved,
)

NONE = -np.inf


def scores(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_the_best_come_first_and_what_is_shut_never() -> None:
    found = best(scores([0.1, 0.9, 0.5, 0.7], [NONE, NONE, 0.2, NONE]), 3)
    assert found.tolist() == [[1, 3, 2], [2, -1, -1]]
    assert best(scores([0.1, 0.9]), 10).tolist() == [[1, 0]]


def test_retrieval_by_hand() -> None:
    """Five songs, k = 2. The order of the first query is 4 3 2 1 0; of the second 0 1 2 3 4."""
    found = retrieved(
        scores([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]),
        np.array([[True, False, True, True, False], [False, False, False, True, False]]),
        2,
    )
    assert found.precision.tolist() == [1 / 2, 0]
    assert found.recall.tolist() == [1 / 3, 0]
    assert found.hit.tolist() == [1, 0]
    assert found.reciprocal_rank.tolist() == [1 / 2, 1 / 4]
    assert found.intervals()["reciprocal_rank"].value == 3 / 8


def test_a_query_that_the_arm_has_no_list_for_found_nothing() -> None:
    found = retrieved(scores([NONE, NONE]), np.array([[True, False]]), 2)
    assert [float(values[0]) for values in vars(found).values()] == [0, 0, 0, 0]


def test_coverage_and_gini_by_hand() -> None:
    lists = np.array([[0, 1], [0, 2], [0, -1]])
    assert coverage(lists, 4) == 3 / 4
    # Places by song: 3, 1, 1, 0; differences of all 16 pairs: 2 × (2 + 2 + 3 + 0 + 1 + 1) = 18; 18 / (2 × 4 × 5).
    assert gini(lists, 4) == pytest.approx(18 / 40)
    assert gini(np.array([[0, 1], [2, 3]]), 4) == pytest.approx(0)
    assert gini(np.array([[0, 0], [0, 0]]), 4) == pytest.approx(3 / 4)
    assert gini(np.array([[-1]]), 4) == 0


def test_overlap_and_listed_means_by_hand() -> None:
    one, other = np.array([[1, 2, 3], [1, 2, -1], [4, -1, -1]]), np.array([[3, 4, 1], [5, 6, -1], [4, -1, -1]])
    assert overlap(one, other).tolist() == [2 / 4, 0, 1]
    values = np.array([[0.0, 1.0, 0.5], [1.0, 1.0, 1.0]], dtype=np.float32)
    assert means_of_listed(values, np.array([[2, 1], [-1, -1]])).tolist() == [0.75, 0]
    assert means_of_listed(values, np.array([[1, -1], [0, 2]])).tolist() == [1, 1]


def test_percentiles_of_what_is_known() -> None:
    found = percentiles(np.array([10.0, np.nan, 30.0, 10.0, 20.0]))
    np.testing.assert_array_equal(found, [0.25, np.nan, 0.875, 0.25, 0.625])
    assert np.nanmean(found) == 0.5


def test_the_interval_of_a_mean_covers_its_truth_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(0)
    truth, covered = 0.3, 0
    for trial in range(300):
        found = bootstrap(rng.binomial(1, truth, 200).astype(float), seed=trial, resamples=500)
        covered += found.low <= truth <= found.high
        assert found.low <= found.value <= found.high and found.n == 200
    assert 0.91 <= covered / 300 <= 0.98


def test_intervals_are_told_apart_and_repeat_by_seed() -> None:
    rng = np.random.default_rng(1)
    low, high = rng.normal(0.0, 1, 500), rng.normal(1.0, 1, 500)
    assert bootstrap(low).apart_from(bootstrap(high)) and bootstrap(high).apart_from(bootstrap(low))
    assert not bootstrap(low).apart_from(bootstrap(low, seed=1))
    assert bootstrap(low, seed=3) == bootstrap(low, seed=3) != bootstrap(low, seed=4)
    with pytest.raises(ValueError, match="nothing to resample"):
        bootstrap(np.array([]))


def test_a_ratio_is_drawn_over_the_same_queries() -> None:
    base = np.array([1.0, 2.0, 3.0, 4.0])
    twice = bootstrap_ratio(2 * base, base)
    assert twice.value == twice.low == twice.high == 2
    with pytest.raises(ValueError, match="0 for every query"):
        bootstrap_ratio(base, np.zeros(4))


def test_the_interval_of_a_coverage_is_around_it_though_resamples_cover_less() -> None:
    lists = np.arange(100).reshape(50, 2)
    found = bootstrap_spread(lambda rows: coverage(lists[rows], 200), 50)
    assert found.value == 0.5 and found.low < 0.5 < found.high and found.high - found.low < 0.2
