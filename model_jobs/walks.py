"""Random walks over a graph, all of them a step at a time, as arrays.

A walk that came from node t to node v goes on to x with a probability proportional to w(v, x) · α(t, x), where α is 1/p
when x is t, 1 when x is a neighbour of t, and 1/q otherwise (Grover and Leskovec 2016, section 3.2). With p = q = 1 the
walk does not look back. Otherwise a neighbour is proposed by weight and accepted with probability α / max α, which
needs no table of transitions (a table has an entry for each pair of edges that meet: for a tag of 2,500 songs six
million). The way back is drawn apart where 1/p exceeds the other α, so that a small p does not make every other
proposal fail (Yang et al. 2019, "KnightKing", section 4).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_Nodes = NDArray[np.int32]
_Edges = NDArray[np.int64]


class Walker:
    """Draws walks over one graph.

    `weights`: its adjacency matrix, a scipy `csr_array` (nodes, nodes), symmetric; every node has an edge.
    """

    def __init__(self, weights: Any, p: float = 1.0, q: float = 1.0) -> None:
        matrix = weights.sorted_indices()
        self._nodes, self._p, self._q = int(matrix.shape[0]), p, q
        self._starts: NDArray[np.int64] = matrix.indptr.astype(np.int64)
        self._neighbours: _Nodes = matrix.indices.astype(np.int32)
        self._weights: NDArray[np.float64] = matrix.data.astype(np.float64)
        self._degrees: NDArray[np.int64] = np.diff(self._starts)
        # Where all edges weigh the same a draw needs no search.
        self._even = bool((self._weights == self._weights[:1]).all())
        running = np.concatenate([[0.0], np.cumsum(self._weights)])
        self._running: NDArray[np.float64] = running
        self._low: NDArray[np.float64] = running[self._starts[:-1]]
        self._total: NDArray[np.float64] = running[self._starts[1:]] - self._low
        # An edge as one number, ascending: whether two nodes are neighbours is one binary search.
        owners = np.repeat(np.arange(self._nodes, dtype=np.int64), self._degrees)
        self._keys: NDArray[np.int64] = owners * self._nodes + self._neighbours

    def walks(self, per_node: int, length: int, rng: np.random.Generator) -> _Nodes:
        """int32 (nodes × per_node, length), in random order: each node is the start of `per_node` walks."""
        nodes = np.arange(self._nodes, dtype=np.int32)
        steps = np.empty((length, len(nodes) * per_node), dtype=np.int32)
        steps[0] = rng.permutation(np.repeat(nodes, per_node))
        edges: _Edges | None = None
        for step in range(1, length):
            if edges is None or self._p == self._q == 1.0:
                edges = self._by_weight(steps[step - 1], rng)
            else:
                edges = self._looking_back(steps[step - 2], steps[step - 1], edges, rng)
            steps[step] = self._neighbours[edges]
        return np.ascontiguousarray(steps.T)

    def _by_weight(self, here: _Nodes, rng: np.random.Generator) -> _Edges:
        """An edge of each node, drawn in proportion to the weights."""
        drawn = rng.random(len(here))
        starts = self._starts[here]
        if self._even:
            edges: _Edges = starts + (drawn * self._degrees[here]).astype(np.int64)
        else:
            sought = self._low[here] + drawn * self._total[here]
            edges = np.searchsorted(self._running, sought, side="right").astype(np.int64) - 1
        # A draw may round up to the end of the stretch, which belongs to the next node.
        return np.asarray(np.minimum(edges, starts + self._degrees[here] - 1))

    def _looking_back(self, before: _Nodes, here: _Nodes, last: _Edges, rng: np.random.Generator) -> _Edges:
        """An edge of each node in `here`, which a walk reached from `before` by the edge `last`."""
        envelope = max(1.0, 1.0 / self._q)
        excess = self._weights[last] * max(0.0, 1.0 / self._p - envelope)
        chosen = np.empty(len(here), dtype=np.int64)
        unsettled = np.arange(len(here))
        while len(unsettled):
            at, came = here[unsettled], before[unsettled]
            edges = self._by_weight(at, rng)
            bias = np.minimum(self._bias(came, self._neighbours[edges]), envelope)
            settled = rng.random(len(at)) * envelope < bias
            above = excess[unsettled]
            back = rng.random(len(at)) * (self._total[at] * envelope + above) < above
            edges[back] = self._edge(at[back], came[back])
            settled |= back
            chosen[unsettled[settled]] = edges[settled]
            unsettled = unsettled[~settled]
        return chosen

    def _bias(self, before: _Nodes, there: _Nodes) -> NDArray[np.float64]:
        """α(t, x) of the paper."""
        sought = before.astype(np.int64) * self._nodes + there
        found = np.minimum(np.searchsorted(self._keys, sought), len(self._keys) - 1)
        bias = np.where(self._keys[found] == sought, 1.0, 1.0 / self._q)
        bias[there == before] = 1.0 / self._p
        return bias

    def _edge(self, here: _Nodes, there: _Nodes) -> _Edges:
        """The number of the edge from each of `here` to its neighbour in `there`."""
        sought = here.astype(np.int64) * self._nodes + there
        return np.searchsorted(self._keys, sought).astype(np.int64)
