"""Versions of collections made up for tests."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np

from contracts.models import LiveModel

_versions = count(1)


def names(count: int) -> list[str]:
    """Song ids."""
    return [f"s{n:05d}" for n in range(count)]


def record_of(raw: Any, arm: str | None = None) -> LiveModel:
    """A version of its own for these vectors."""
    dense = isinstance(raw, np.ndarray)
    return LiveModel(
        arm=arm or ("mpnet" if dense else "tfidf"),
        version=f"{next(_versions):016x}",
        vectors="dense" if dense else "sparse",
        dimension=raw.shape[1],
        songs=raw.shape[0],
        catalogue_digest="0" * 32,
        built_at=1_750_000_000_000,
    )


class Told:
    """A report that keeps what it was told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, int, int]] = []

    def __call__(self, what: str, done: int, steps: int) -> None:
        self.said.append((what, done, steps))

    def written(self) -> Sequence[int]:
        """How many songs were there before each batch."""
        return [done for what, done, _ in self.said if what == "writing to Qdrant"]
