"""node2vec: vectors that follow what songs share, the same for the same seed, as the settings say."""

import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest

from collectors.synthetic import cluster_of, synthetic_songs
from model_jobs.node2vec import Node2Vec

_DIGEST = """
from hashlib import sha256
from collectors.synthetic import synthetic_songs
from model_jobs.node2vec import Node2Vec
rows = Node2Vec(dimension=8, walks=2).build(synthetic_songs(60)).raw
print(sha256(rows.tobytes()).hexdigest())
"""


def test_songs_of_one_cluster_lie_together_and_none_is_left_out() -> None:
    songs = synthetic_songs(400)
    vectors = Node2Vec(dimension=32).build(songs)
    assert vectors.raw.shape == (400, 32) and vectors.raw.dtype == np.float32 and not vectors.left_out
    unit = vectors.raw / np.linalg.norm(vectors.raw, axis=1, keepdims=True)
    cosines, clusters = unit @ unit.T, np.array([cluster_of(song) for song in songs])
    same = clusters[:, None] == clusters[None, :]
    off_diagonal = ~np.eye(400, dtype=bool)
    assert cosines[same & off_diagonal].mean() > cosines[~same].mean() + 0.2


def test_one_seed_gives_one_model_in_any_process() -> None:
    command, environment = [sys.executable, "-c", _DIGEST], {"PYTHONHASHSEED": "7"}
    elsewhere = subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout.strip()
    here = Node2Vec(dimension=8, walks=2).build(synthetic_songs(60)).raw
    assert sha256(here.tobytes()).hexdigest() == elsewhere
    rows = [Node2Vec(dimension=8, walks=2, seed=seed).build(synthetic_songs(60)).raw for seed in (1, 2)]
    assert not np.array_equal(*rows)


@pytest.mark.parametrize("arm", ["tfidf", "node2vec"])
def test_what_the_vectors_depend_on_names_the_version(arm: str) -> None:
    from model_jobs.model import version_of
    from model_jobs.registry import model_named
    from services.common.settings import Settings

    settings = Settings()
    model = model_named(settings, arm)
    version = version_of(model, "0" * 32)
    assert len(version) == 16 and version == version_of(model_named(settings, arm), "0" * 32)
    other = model_named(settings, arm, {"tfidf": {"min_df": 2}, "node2vec": {"dimension": 16}}[arm])
    assert len({version, version_of(model, "1" * 32), version_of(other, "0" * 32)}) == 3
    with pytest.raises(ValueError, match="no such parameter"):
        model_named(settings, arm, {"colour": 3})
    with pytest.raises(ValueError, match="nothing here builds"):
        model_named(settings, "mp3")
