"""Vectors of nodes from walks: skip-gram with negative sampling (Mikolov et al. 2013), a batch of walks at a time.

What word2vec computes pair by pair is here one product of small matrices a walk. Of a walk's nodes the input vectors X
meet the output vectors Z of the same nodes and of a few negatives; with the targets T (1 for a pair within the window,
0 for a negative) and the weights W of all pairs the gradients are

    G = W ∘ (T - σ(X Zᵀ)),   dX = G Z,   dZ = Gᵀ X.

Where word2vec draws, this takes the expectation, which has the same mean and less noise: the window that shrinks at
random is the weight (window - distance + 1) / window, and `negative` draws a pair are `_NEGATIVES` draws a walk, shared
by its pairs and weighted so that they count as many. Frequent nodes are left out at random as word2vec does.

A node that a batch holds many times gets the sum of that many gradients, all of them taken before it moved. So a batch
holds few walks where there are few nodes, and a step counts at most `_MOST_STEPS` gradients of a node.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_jobs.model import Report, no_report

# The learning rate at the start and at the end, as in word2vec; between them it falls linearly with the walks seen.
_RATE: Final = 0.025
_LEAST_RATE: Final = 0.0001
# A node that is more than this share of all is left out of a walk now and then, as in word2vec.
_FREQUENT: Final = 1e-3
_NEGATIVES: Final = 10
_MOST_WALKS: Final = 512
_NODES_A_WALK: Final = 8
_MOST_STEPS: Final = 8

_Rows = NDArray[np.float32]
_Nodes = NDArray[np.int32]


@dataclass(frozen=True)
class SkipGram:
    """How vectors are trained. Several `workers` train side by side and never twice the same."""

    dimension: int
    window: int
    negative: int = 5
    epochs: int = 1
    workers: int = 1
    seed: int = 1

    def train(self, walks: _Nodes, nodes: int, report: Report = no_report) -> _Rows:
        """The vectors (nodes, dimension) of the nodes 0 … nodes - 1; walks must come in random order."""
        training = _Training(self, walks, nodes)
        shares = np.array_split(walks, self.workers)
        seeds = np.random.SeedSequence(self.seed).spawn(self.workers)
        # Only the first reports, for all: they go at the same pace.
        reports = [report, *[no_report] * (self.workers - 1)]
        if self.workers == 1:
            training.run(shares[0], np.random.default_rng(seeds[0]), report)
        else:
            with ThreadPoolExecutor(self.workers) as pool:
                list(pool.map(training.run, shares, map(np.random.default_rng, seeds), reports))
        return training.inputs


class _Training:
    """The vectors that are trained, and what stays the same meanwhile."""

    def __init__(self, how: SkipGram, walks: _Nodes, nodes: int) -> None:
        self._how = how
        counts = np.bincount(walks.ravel(), minlength=nodes)
        drawn = np.cumsum(counts**0.75)
        self._negatives: NDArray[np.float64] = drawn / drawn[-1]
        share = np.maximum(counts, 1) / (_FREQUENT * counts.sum())
        self._kept: _Rows = np.minimum(1.0, 1 / np.sqrt(share) + 1 / share).astype(np.float32)
        self._likely = _likely(walks.shape[1], how.window)
        self._batch = int(np.clip(nodes // _NODES_A_WALK, 1, _MOST_WALKS))
        rng = np.random.default_rng(how.seed)
        self.inputs: _Rows = (rng.random((nodes, how.dimension), dtype=np.float32) * 2 - 1) / np.float32(how.dimension)
        self._outputs = np.zeros_like(self.inputs)

    def run(self, walks: _Nodes, rng: np.random.Generator, report: Report) -> None:
        """All epochs over these walks."""
        total = len(walks) * self._how.epochs
        for seen, batch in _batches(walks, self._batch, self._how.epochs):
            if seen % (64 * self._batch) == 0:
                report("training", seen, total)
            self._step(batch, _RATE - (_RATE - _LEAST_RATE) * seen / total, rng)

    def _step(self, walks: _Nodes, rate: float, rng: np.random.Generator) -> None:
        length = walks.shape[1]
        nodes = np.concatenate([walks, self._draw_negatives(len(walks), rng)], axis=1)
        inputs, outputs = self.inputs[walks], self._outputs[nodes]
        gradient = _minus_sigmoid(inputs @ outputs.transpose(0, 2, 1))
        pairs = self._pairs(rng.random(walks.shape, dtype=np.float32) < self._kept[walks])
        gradient[:, :, :length] += 1
        gradient[:, :, :length] *= pairs
        gradient[:, :, length:] *= (pairs.sum(axis=2) * np.float32(self._how.negative / _NEGATIVES))[:, :, None]
        _add(self.inputs, walks, gradient @ outputs, rate)
        _add(self._outputs, nodes, gradient.transpose(0, 2, 1) @ inputs, rate)

    def _pairs(self, kept: NDArray[np.bool_]) -> _Rows:
        """(walks, length, length): the weight of each pair; what is left out of a walk brings its neighbours closer."""
        places = np.cumsum(kept, axis=1, dtype=np.int16)
        pairs: _Rows = self._likely[np.abs(places[:, :, None] - places[:, None, :])]
        pairs *= kept[:, :, None]
        pairs *= kept[:, None, :]
        return pairs

    def _draw_negatives(self, walks: int, rng: np.random.Generator) -> _Nodes:
        """int32 (walks, _NEGATIVES) by count to the power of 3/4; one draw in each of as many equal parts of [0, 1).

        Walk number i gets the i-th draw of each tenth. Walks come in random order, so that binds no node to another.
        """
        draws = walks * _NEGATIVES
        sought = (np.arange(draws) + rng.random(draws)) / draws
        found = np.minimum(np.searchsorted(self._negatives, sought), len(self._negatives) - 1)
        return found.astype(np.int32).reshape(_NEGATIVES, walks).T


def _likely(length: int, window: int) -> _Rows:
    """By distance, 0 … length - 1: how likely a window that shrinks evenly to 1 … `window` places reaches so far."""
    likely = np.clip((window + 1 - np.arange(length)) / window, 0.0, 1.0)
    likely[0] = 0.0
    return likely.astype(np.float32)


def _batches(walks: _Nodes, size: int, epochs: int) -> Iterator[tuple[int, _Nodes]]:
    """(walks seen before, walks of the batch)."""
    for epoch in range(epochs):
        for start in range(0, len(walks), size):
            yield epoch * len(walks) + start, walks[start : start + size]


def _minus_sigmoid(values: _Rows) -> _Rows:
    """-1 / (1 + e^-x), in place; a product that is far out would overflow, and its gradient is 0 or 1 anyway."""
    np.clip(values, -30, 30, out=values)
    np.negative(values, out=values)
    np.exp(values, out=values)
    values += 1
    return np.divide(-1, values, out=values)


def _add(rows: _Rows, nodes: _Nodes, gradients: _Rows, rate: float) -> None:
    """Move each node by the sum of its gradients, of at most `_MOST_STEPS` of them on average."""
    import scipy.sparse

    # Node and place as one number: they are all different, so any sort gives one order, and sums have one order.
    places = nodes.size
    bits = places.bit_length()
    keys = np.sort(nodes.ravel().astype(np.int64) << bits | np.arange(places))
    owners, order = keys >> bits, keys & ((1 << bits) - 1)
    first = np.flatnonzero(np.diff(owners, prepend=-1))
    counts = np.diff(first, append=places)
    steps = (rate * np.minimum(1.0, _MOST_STEPS / counts)).astype(np.float32)
    sums = scipy.sparse.csr_array((np.repeat(steps, counts), order, np.append(first, places)), (len(first), places))
    rows[owners[first]] += sums @ gradients.reshape(places, -1)
