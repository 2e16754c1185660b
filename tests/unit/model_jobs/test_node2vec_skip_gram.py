"""Skip-gram in matrices: the gradients are those of each pair, hubs are bounded, what walks together lies together."""

import numpy as np
import pytest

from model_jobs.skip_gram import SkipGram, _likely, _Training

NODES, DIMENSION, WINDOW, NEGATIVE, RATE = 2_000, 4, 3, 5, 0.1


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def training(walks: np.ndarray, nodes: int = NODES) -> _Training:
    made = _Training(SkipGram(DIMENSION, WINDOW, NEGATIVE), walks, nodes)
    rng = np.random.default_rng(0)
    made.inputs[:] = rng.normal(size=made.inputs.shape)
    made._outputs[:] = rng.normal(size=made._outputs.shape)
    return made


def test_a_step_is_the_sum_over_pairs() -> None:
    # So many nodes, each as frequent as the others, that none is left out of a walk.
    walks = np.random.default_rng(1).permutation(NODES).astype(np.int32).reshape(-1, 10)
    made = training(walks)
    inputs, outputs = made.inputs.astype(np.float64), made._outputs.astype(np.float64)
    negatives = made._draw_negatives(3, np.random.default_rng(2))
    moved, answered = np.zeros_like(inputs), np.zeros_like(outputs)
    for walk, drawn in zip(walks[:3].tolist(), negatives.tolist(), strict=True):
        for i, node in enumerate(walk):
            near = [(1 - (abs(i - j) - 1) / WINDOW, other) for j, other in enumerate(walk) if 0 < abs(i - j) <= WINDOW]
            share = sum(weight for weight, _ in near) * NEGATIVE / len(drawn)
            pairs = [(weight, 1, other) for weight, other in near] + [(share, 0, other) for other in drawn]
            for weight, target, other in pairs:
                pull = RATE * weight * (target - sigmoid(inputs[node] @ outputs[other]))
                moved[node] += pull * outputs[other]
                answered[other] += pull * inputs[node]
    made._step(walks[:3], RATE, np.random.default_rng(2))
    np.testing.assert_allclose(made.inputs, inputs + moved, atol=1e-5)
    np.testing.assert_allclose(made._outputs, outputs + answered, atol=1e-5)


def test_a_window_reaches_as_far_as_word2vecs_on_average() -> None:
    drawn = np.random.default_rng(3).integers(1, 6, 200_000)
    seen = [np.mean(drawn >= distance) for distance in range(1, 10)]
    assert _likely(10, 5)[0] == 0
    np.testing.assert_allclose(_likely(10, 5)[1:], seen, atol=0.01)


def test_negatives_come_by_count_to_the_power_of_three_quarters() -> None:
    counts = np.array([1, 4, 16, 64, 256])
    walks = np.repeat(np.arange(5, dtype=np.int32), counts * 10).reshape(-1, 10)
    drawn = training(walks, 5)._draw_negatives(20_000, np.random.default_rng(4))
    expected = counts**0.75 / (counts**0.75).sum()
    np.testing.assert_allclose(np.bincount(drawn.ravel(), minlength=5) / drawn.size, expected, atol=1e-3)
    # Any tenth of the draws alone, too: a walk's negatives come from all over.
    assert all(len(set(walk)) > 1 for walk in drawn[:100].tolist())


@pytest.mark.parametrize("walks_of_hub", [50, 5_000])
def test_a_hub_does_not_run_away(walks_of_hub: int) -> None:
    rng = np.random.default_rng(5)
    walks = rng.integers(1, 4_000, (walks_of_hub, 10)).astype(np.int32)
    walks[:, ::2] = 0
    everywhere = np.concatenate([walks, np.arange(4_000, dtype=np.int32).reshape(-1, 10)])
    rows = SkipGram(8, 5, epochs=3).train(rng.permutation(everywhere), 4_000)
    assert np.isfinite(rows).all() and np.linalg.norm(rows, axis=1).max() < 10


def test_what_walks_together_lies_together() -> None:
    rng = np.random.default_rng(6)
    walks = np.concatenate([rng.integers(0, 30, (900, 10)), rng.integers(30, 60, (900, 10))]).astype(np.int32)
    rows = SkipGram(8, 5, epochs=5).train(rng.permutation(walks), 60)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = unit @ unit.T
    assert cosines[:30, :30].mean() > cosines[:30, 30:].mean() + 0.5


def test_progress_rises_to_the_end() -> None:
    told: list[tuple[int, int]] = []
    walks = np.random.default_rng(7).integers(0, 50, (4_000, 10)).astype(np.int32)
    SkipGram(4, 3, epochs=2).train(walks, 50, lambda _, done, steps: told.append((done, steps)))
    assert told == sorted(told) and len(told) > 5 and {steps for _, steps in told} == {8_000}
