"""Walks: along edges, from everywhere, and to each neighbour as often as the formulas say."""

import networkx
import numpy as np
import pytest

from collectors.synthetic import synthetic_songs
from model_jobs.song_graph import song_graph
from model_jobs.walks import Walker

# A triangle a-b-c, a tail, a hub: ways back, ways to a common neighbour, ways out, all with different weights.
EDGES = [
    ("a", "b", 1.0), ("a", "c", 2.0), ("b", "c", 0.5), ("c", "d", 3.0), ("d", "e", 1.0), ("b", "e", 4.0),
    ("d", "f", 2.0),
]  # fmt: skip


def graph_of(edges: list[tuple[str, str, float]]) -> networkx.Graph:
    graph = networkx.Graph()
    graph.add_weighted_edges_from(edges)
    return graph


def walks_over(graph: networkx.Graph, per_node: int, length: int, seed: int, **biases: float) -> np.ndarray:
    walker = Walker(networkx.to_scipy_sparse_array(graph, dtype=float, format="csr"), **biases)
    return walker.walks(per_node, length, np.random.default_rng(seed))


def transitions(graph: networkx.Graph, p: float, q: float) -> dict[tuple[str, str], dict[str, float]]:
    """(t, v) → x → the probability of going on from v to x after t, straight from the definition."""
    exact = {}
    for v in graph:
        near = {x: edge["weight"] for x, edge in graph[v].items()}
        for t in near:
            mass = {x: weight * (1 / p if x == t else 1 if x in graph[t] else 1 / q) for x, weight in near.items()}
            exact[t, v] = {x: one / sum(mass.values()) for x, one in mass.items()}
    return exact


def test_walks_follow_edges_and_start_everywhere() -> None:
    graph = song_graph(synthetic_songs(80))
    for p, q in ((1.0, 1.0), (0.5, 2.0)):
        walks = walks_over(graph, 3, 8, 1, p=p, q=q)
        names = list(graph)
        assert walks.shape == (3 * len(names), 8) and walks.dtype == np.int32
        assert (np.bincount(walks[:, 0]) == 3).all()
        for here, there in walks[:, :2].tolist() + walks[:, -2:].tolist():
            assert graph.has_edge(names[here], names[there])


def test_neighbours_are_drawn_by_weight() -> None:
    graph = graph_of([("a", "b", 1.0), ("a", "c", 3.0), ("a", "d", 6.0)])
    walks, names = walks_over(graph, 20_000, 2, 2), list(graph)
    from_a = walks[walks[:, 0] == names.index("a"), 1]
    share = np.bincount(from_a, minlength=4)[[names.index(name) for name in "bcd"]] / len(from_a)
    np.testing.assert_allclose(share, [0.1, 0.3, 0.6], atol=0.02)


@pytest.mark.parametrize("even", [False, True], ids=["weighted", "even"])
@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (0.25, 4.0), (4.0, 0.25), (0.05, 1.0), (3.0, 3.0), (0.5, 0.2)])
def test_second_order_walks_have_the_exact_transition_probabilities(p: float, q: float, even: bool) -> None:
    graph = graph_of([(a, b, 1.0 if even else weight) for a, b, weight in EDGES])
    walks, names = walks_over(graph, 4_000, 12, 3, p=p, q=q), list(graph)
    for (t, v), expected in transitions(graph, 1.0 if p == q == 1 else p, q).items():
        after = np.zeros(len(names))
        for step in range(2, 12):
            here = (walks[:, step - 2] == names.index(t)) & (walks[:, step - 1] == names.index(v))
            after += np.bincount(walks[here, step], minlength=len(names))
        exact = np.array([expected.get(name, 0.0) for name in names])
        # Five standard errors of each share.
        allowed = 5 * np.sqrt(exact * (1 - exact) / after.sum()) + 1e-9
        assert after.sum() > 500
        assert (np.abs(after / after.sum() - exact) <= allowed).all(), (t, v, after / after.sum(), exact)


def test_a_low_q_goes_far_and_a_high_one_stays() -> None:
    ring = graph_of([(str(i), str((i + step) % 60), 1.0) for i in range(60) for step in (1, 2)])
    ends = {}
    for q in (0.1, 10.0):
        place = np.array([int(name) for name in ring])[walks_over(ring, 50, 10, 4, q=q)]
        far = np.abs(place[:, -1] - place[:, 0])
        ends[q] = np.minimum(far, 60 - far).mean()
    assert ends[0.1] > ends[10.0] + 1


def test_one_seed_gives_the_same_walks() -> None:
    graph = song_graph(synthetic_songs(60))
    first, again, other = (walks_over(graph, 2, 6, seed, p=0.5, q=2.0) for seed in (1, 1, 2))
    assert (first == again).all() and not (first == other).all()
