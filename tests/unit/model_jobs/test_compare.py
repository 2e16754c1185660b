"""What a comparison says of models whose differences are known."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from contracts.models import LiveModel
from model_jobs.compare import compared
from services.common.vectors.published import Published

RNG = np.random.default_rng(7)
CLUSTERED = np.repeat(RNG.standard_normal((20, 16)), 10, axis=0) + 0.3 * RNG.standard_normal((200, 16))


def published(raw, first: int = 0, version: str = "0" * 16) -> Published:
    kind = "dense" if isinstance(raw, np.ndarray) else "sparse"
    record = LiveModel(
        arm="node2vec", version=version, vectors=kind, dimension=raw.shape[1], songs=raw.shape[0],
        catalogue_digest="c" * 32, built_at=0,
    )  # fmt: skip
    return Published(record, [f"song-{n:04d}" for n in range(first, first + raw.shape[0])], raw, Path("nowhere"))


def rows(values) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


def test_a_model_is_like_itself() -> None:
    found = compared(published(rows(CLUSTERED)), published(rows(CLUSTERED)))
    assert (found.added, found.removed, found.common) == (0, 0, 200)
    assert found.overlap.value == 1 and found.other_pick.value == 0
    assert found.same_space.value == pytest.approx(1) and found.rotated.value == pytest.approx(1)


def test_a_rotated_model_is_the_same_to_listeners() -> None:
    turn, _ = np.linalg.qr(RNG.standard_normal((16, 16)))
    found = compared(published(rows(CLUSTERED)), published(rows(CLUSTERED @ turn)))
    assert found.overlap.value > 0.99 and found.other_pick.value < 0.01
    assert abs(found.same_space.value) < 0.5 and found.rotated.value == pytest.approx(1, abs=1e-4)


def test_chance_is_unlike_a_model() -> None:
    found = compared(published(rows(CLUSTERED)), published(rows(RNG.standard_normal((200, 24)))))
    assert found.overlap.high < 0.1 and found.other_pick.low > 0.9
    assert found.same_space is None and found.rotated is None


def test_only_common_songs_are_compared_and_the_others_counted() -> None:
    found = compared(published(rows(CLUSTERED[:150])), published(rows(CLUSTERED[50:]), first=50))
    assert (found.added, found.removed, found.common) == (50, 50, 100)
    assert found.overlap.value == 1


def test_sparse_and_dense_rows_of_the_same_content_agree() -> None:
    some = rows(np.maximum(CLUSTERED, 0))
    found = compared(published(scipy.sparse.csr_array(some)), published(some))
    assert found.overlap.value > 0.999 and found.other_pick.value == 0 and found.same_space is None


def test_too_few_common_songs_are_said() -> None:
    found = compared(published(rows(CLUSTERED[:20])), published(rows(CLUSTERED[10:30]), first=10))
    assert found.common == 10 and found.overlap is None and found.other_pick is None
