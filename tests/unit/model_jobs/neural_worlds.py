"""A model's directory, an encoder that needs no torch, and songs, for tests of the sentence models.

As a command (`python -m tests.unit.model_jobs.neural_worlds CACHE`) it builds slowly, to be killed meanwhile.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collectors.sources import read, source_named
from contracts.catalogue import Song
from model_jobs.neural.arms import Neural
from model_jobs.neural.encoder import Encoder
from model_jobs.neural.weights import Weights

DIMENSION = 8
WEIGHTS = Weights(Path("/nowhere"), "hashes", "ab" * 16)


class HashEncoder:
    """Words as random directions, a text their sum: deterministic, and near texts are near."""

    device = "cpu"

    def __init__(self, batch: int = 10, seconds: float = 0.0) -> None:
        self.batch, self.seen, self._seconds = batch, list[str](), seconds

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row a text."""
        time.sleep(self._seconds)
        self.seen += texts
        return np.stack([np.sum([_direction(word) for word in text.split()], axis=0) for text in texts])


def _direction(word: str) -> NDArray[np.float32]:
    seed = int.from_bytes(blake2b(word.encode(), digest_size=4).digest(), "big")
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


def neural(cache_dir: Path, encoder: Encoder, arm: str = "minilm") -> Neural:
    """The arm with an encoder of the test's own."""
    return Neural(arm, "hashes", cache_dir, find=lambda *_: WEIGHTS, opened=lambda *_: encoder)


def sample_songs(count: int | None = None) -> list[Song]:
    """The first songs of the sample by id, as a build gets them."""
    return sorted(read(source_named("sample")).songs, key=lambda song: song.song_id)[:count]


def model_directory(path: Path, weights: bytes = b"weights", **config: object) -> Path:
    """The files of a sentence-transformers model, as far as finding one goes."""
    (path / "1_Pooling").mkdir(parents=True)
    modules = [{"idx": 0, "path": ""}, {"idx": 1, "path": "1_Pooling"}]
    (path / "modules.json").write_text(json.dumps(modules))
    shape = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2}
    (path / "config.json").write_text(json.dumps({**shape, "_name_or_path": str(path), **config}))
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    (path / "model.safetensors").write_bytes(weights)
    return path


def said(lines: list[str]) -> Callable[[str, int, int], None]:
    """A report that is kept."""
    return lambda what, done, steps: lines.append(f"{what} {done}/{steps}")


if __name__ == "__main__":
    neural(Path(sys.argv[1]), HashEncoder(seconds=0.05)).build(sample_songs())
