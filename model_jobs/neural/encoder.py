"""Encodes texts as vectors. SentenceEncoder needs the extra `neural`, imported when the first text is encoded."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from model_jobs.neural.hub import check_installed
from model_jobs.neural.weights import Weights

# Texts of one batch. On a CPU a batch costs what its texts cost, so a small one saves earlier.
BATCHES: Final = {"cuda": 256, "mps": 64, "cpu": 32}


class Encoder(Protocol):
    """A loaded model."""

    @property
    def device(self) -> str:
        """Where it computes: cuda, mps, cpu."""
        ...

    @property
    def batch(self) -> int:
        """How many texts it takes at once."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row a text: float32 (n, d), as the model gives them. A text's row does not depend on its batch."""
        ...


# Loads the model of an arm.
OpenEncoder = Callable[[str, Weights], Encoder]


class SentenceEncoder:
    """A sentence-transformers model on the fastest device that is there."""

    def __init__(self, directory: Path, device: str | None = None) -> None:
        """Load the model: seconds, and a few hundred MB. Nothing is fetched, and nothing but safetensors is read."""
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.device = device or _fastest()
        self.batch = BATCHES[self.device]
        self._model: Any = SentenceTransformer(
            str(directory), device=self.device, local_files_only=True, model_kwargs={"use_safetensors": True}
        )

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See Encoder."""
        rows = self._model.encode(list(texts), batch_size=self.batch, show_progress_bar=False)
        return np.asarray(rows, dtype=np.float32)


def open_encoder(arm: str, weights: Weights) -> Encoder:
    """Load the model of an arm. Slow. Raises RuntimeError with what to do where the extra is not installed."""
    check_installed(arm)
    return SentenceEncoder(weights.directory)


def _fastest() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
