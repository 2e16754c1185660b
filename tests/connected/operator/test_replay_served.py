"""What recommenders read when they start: vectors that the log names are looked at, file by file."""

from pathlib import Path

import numpy as np
import pytest

from contracts.models import LiveModel
from services.common.vectors.edge import write_shard
from services.common.vectors.published import SHARD, points_of, write_files
from services.operator.replay.served import model_states, move_damaged

pytestmark = pytest.mark.connected

SONGS = [f"anidb-{number}" for number in range(50)]


def published(vectors_dir: Path, *, songs: int = len(SONGS)) -> LiveModel:
    """A small dense model as a build publishes it; its record speaks of so many songs."""
    record = LiveModel(
        arm="node2vec", version="0123456789abcdef", vectors="dense", dimension=8, songs=songs,
        catalogue_digest="0" * 32, built_at=1, params={},
    )  # fmt: skip
    raw = np.random.default_rng(3).normal(size=(len(SONGS), 8)).astype(np.float32)
    directory = vectors_dir / record.collection
    directory.mkdir(parents=True)
    write_files(directory, record, SONGS, raw)
    write_shard(directory / SHARD, points_of(SONGS), raw)
    return record


def trouble(vectors_dir: Path, record: LiveModel) -> str:
    """What is wrong with the one model."""
    (one,) = model_states(vectors_dir, [record])
    return one.trouble


def test_a_whole_model_is_whole_and_a_damaged_one_says_what_is_wrong(tmp_path: Path):
    record = published(tmp_path)
    directory = tmp_path / record.collection
    assert trouble(tmp_path, record) == ""
    raw = (directory / "raw.npy").read_bytes()
    (directory / "raw.npy").write_bytes(raw[:200])
    assert "cannot be read" in trouble(tmp_path, record)
    (directory / "raw.npy").write_bytes(raw)
    assert trouble(tmp_path, record) == ""
    (directory / "songs.json").unlink()
    assert trouble(tmp_path, record) == "it is not on this machine"


def test_a_model_that_does_not_fit_its_record_is_no_good_and_is_set_aside(tmp_path: Path):
    record = published(tmp_path, songs=49)
    assert trouble(tmp_path, record) == "50 rows and 50 songs, where the log says 49"
    other = record.model_copy(update={"version": "f" * 16})
    assert trouble(tmp_path, other) == "it is not on this machine"
    aside = move_damaged(tmp_path, record)
    assert aside is not None
    assert aside.name == f".damaged-{record.collection}"
    assert move_damaged(tmp_path, record) is None
    published(tmp_path)
    again = move_damaged(tmp_path, record)
    assert again is not None
    assert again.name == f".damaged-{record.collection}.1"
