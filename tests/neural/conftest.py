"""A real sentence-transformers model, tiny and untrained, and the two machines that export and import its vectors."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from contracts.models import LiveModel
from services.common.settings import REPO_ROOT, KafkaSettings, Settings
from services.common.vectors.published import Published, load_published
from services.local.parts import animusic
from tests.connected.conftest import kafka, log

__all__ = ["kafka", "log"]

# A plain `pytest` in an environment without torch has nothing to run here.
collect_ignore_glob = [] if find_spec("sentence_transformers") else ["test_*.py"]

# What Python imports first: in a process that has this on its path, torch is not installed.
_NO_TORCH = """
import sys
for name in ("torch", "transformers", "sentence_transformers", "huggingface_hub"):
    sys.modules[name] = None
"""


@dataclass(frozen=True)
class Machine:
    """A data directory and the environment of commands on it; several machines may share one log."""

    data_dir: Path
    log: KafkaSettings
    variables: Mapping[str, str]

    def animusic(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANIMUSIC_", "HF_"))}
        own = {
            "ANIMUSIC_DATA_DIR": str(self.data_dir),
            "ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": self.log.bootstrap_servers,
            "PYTHONPATH": str(REPO_ROOT),
        }
        environment = {**clean, **own, **self.variables, **variables}
        return subprocess.run(animusic(*arguments), env=environment, capture_output=True, text=True, timeout=240)

    def does(self, *arguments: str, **variables: str) -> str:
        """Run a verb that must work out; what it said."""
        done = self.animusic(*arguments, **variables)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def published(self, arm: str, live: Mapping[str, LiveModel]) -> Published:
        """The live collection of an arm, as serving loads it."""
        return load_published(Settings(data_dir=self.data_dir).vectors_dir / live[arm].collection)


@pytest.fixture
def encoding(log: KafkaSettings, tmp_path: Path) -> Machine:
    """A machine with torch and without network."""
    return Machine(tmp_path / "encoding", log, {"HF_HUB_OFFLINE": "1"})


@pytest.fixture
def serving(log: KafkaSettings, tmp_path: Path) -> Machine:
    """A machine whose Python has no torch."""
    (tmp_path / "no-torch").mkdir()
    (tmp_path / "no-torch" / "sitecustomize.py").write_text(_NO_TORCH)
    return Machine(tmp_path / "serving", log, {"PYTHONPATH": f"{tmp_path / 'no-torch'}{os.pathsep}{REPO_ROOT}"})


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and 32 dimensions that spells words out, saved as people save theirs."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    base, whole = tmp_path_factory.mktemp("bert"), tmp_path_factory.mktemp("tiny")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (base / "vocab.txt").write_text("\n".join(vocabulary))
    torch.manual_seed(7)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=128, **shape)).save_pretrained(base)
    BertTokenizerFast(str(base / "vocab.txt")).save_pretrained(base)
    transformer = Transformer(str(base), max_seq_length=128)
    SentenceTransformer(modules=[transformer, Pooling(32), Normalize()], device="cpu").save(str(whole))
    return whole


def copies(**paths: Path) -> str:
    """The setting that names local copies."""
    return json.dumps({arm: str(path) for arm, path in paths.items()})


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Row by row, in float64."""
    left, right = left.astype(np.float64), right.astype(np.float64)
    return np.einsum("ij,ij->i", left, right) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
