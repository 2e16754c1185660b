"""Slots and picks are drawn uniformly and apart from each other."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from contracts.arms import ARMS, PAPER_ORDER
from services.recommender.picking import draw, placed

PLAYLISTS = 60_000


@pytest.fixture(scope="module")
def draws():
    rng = np.random.default_rng(20_240_501)
    return [draw(ARMS, "random", rng) for _ in range(PLAYLISTS)]


def test_every_arm_is_at_every_slot_equally_often(draws):
    table = Counter((arm, slot) for drawn in draws for slot, arm in enumerate(drawn.slots))
    counts = [table[arm, slot] for arm in ARMS for slot in range(len(ARMS))]
    assert chisquare(counts).pvalue > 0.01


def test_the_order_of_picking_tells_nothing_of_the_slot(draws):
    table = np.zeros((len(ARMS), len(ARMS)))
    for drawn in draws:
        table[drawn.slots.index("tfidf"), drawn.picks.index("tfidf")] += 1
    assert chi2_contingency(table).pvalue > 0.01


def test_arms_that_are_left_out_leave_the_others_uniform():
    rng = np.random.default_rng(7)
    brought = {"tfidf", "popular", "random"}
    table = Counter(
        (arm, slot)
        for _ in range(20_000)
        for slot, (arm, _) in enumerate(placed(draw(ARMS, "random", rng).slots, brought, "random"))
    )
    assert set(table) == {(arm, slot) for arm in brought for slot in range(3)}
    assert chisquare(list(table.values())).pvalue > 0.01


@pytest.mark.parametrize("brought", [set(), {"random"}, {"tfidf", "random"}, set(ARMS)])
def test_the_probabilities_of_a_slot_sum_to_one(brought):
    places = placed(ARMS, brought, "random")
    assert len(places) == len(brought)
    assert sum(p_arm for _, p_arm in places) == pytest.approx(1.0 if brought else 0.0)


def test_the_papers_order_is_certain():
    drawn = draw(ARMS, "fixed", np.random.default_rng(1))
    assert drawn.slots == drawn.picks == PAPER_ORDER
    assert placed(drawn.slots, {"random", "mpnet"}, "fixed") == [("mpnet", 1.0), ("random", 1.0)]
