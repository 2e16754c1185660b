"""What a backup keeps beside the log: vectors that only an encoder makes, and whether a key is the one of before."""

from pathlib import Path

import numpy as np
import pytest

from contracts.models import LiveModel
from model_jobs.neural.cache import EmbeddingCache
from services.operator.backup.extras import EXTRAS, check_extras, key_digest, read_extras, restore_vectors, save_vectors

REVISION = "a" * 32
TEXTS = ["0" * 32, "1" * 32]


def live(arm: str, **params: str) -> LiveModel:
    """A live version of an arm."""
    return LiveModel(
        arm=arm, version="0" * 16, vectors="dense", dimension=2, songs=2, catalogue_digest="c", built_at=0,
        params=params,
    )  # fmt: skip


LIVE = {"minilm": live("minilm", revision=REVISION), "tfidf": live("tfidf")}


@pytest.fixture
def embeddings(tmp_path: Path) -> Path:
    """The vectors of two texts."""
    directory = tmp_path / "embeddings"
    EmbeddingCache(directory, "minilm", REVISION).put(TEXTS, np.eye(2, dtype=np.float32))
    return directory


def test_vectors_come_back_as_they_were(tmp_path: Path, embeddings: Path) -> None:
    backup = tmp_path / "backup"
    backup.mkdir()
    assert save_vectors(backup, embeddings, LIVE, "k") == []
    written = (backup / "vectors" / f"minilm-{REVISION}.sqlite").stat().st_mtime_ns
    # What did not change is not copied again.
    assert save_vectors(backup, embeddings, LIVE, "k") == []
    assert (backup / "vectors" / f"minilm-{REVISION}.sqlite").stat().st_mtime_ns == written
    check_extras(backup)
    assert restore_vectors(backup, tmp_path / "restored") == ["minilm"]
    before, after = (EmbeddingCache(at, "minilm", REVISION) for at in (embeddings, tmp_path / "restored"))
    assert after.content_digest() == before.content_digest()


def test_vectors_that_are_elsewhere_are_said_and_what_a_backup_has_stays(tmp_path: Path, embeddings: Path) -> None:
    assert save_vectors(tmp_path, tmp_path / "nowhere", LIVE, "") == ["minilm"]
    assert save_vectors(tmp_path, embeddings, LIVE, "") == []
    assert save_vectors(tmp_path, tmp_path / "nowhere", LIVE, "") == []
    check_extras(tmp_path)
    # Another version is live now: the old vectors go.
    assert save_vectors(tmp_path, embeddings, {"tfidf": live("tfidf")}, "") == []
    assert list((tmp_path / "vectors").iterdir()) == []


def test_a_damaged_file_is_named_before_anything_is_written(tmp_path: Path, embeddings: Path) -> None:
    save_vectors(tmp_path, embeddings, LIVE, "")
    (tmp_path / "vectors" / f"minilm-{REVISION}.sqlite").write_bytes(b"x")
    with pytest.raises(ValueError, match=rf"nothing was written: .*minilm-{REVISION}\.sqlite"):
        check_extras(tmp_path)


def test_a_backup_of_an_older_version_has_nothing_beside_the_log(tmp_path: Path) -> None:
    check_extras(tmp_path)
    assert restore_vectors(tmp_path, tmp_path / "restored") == []
    assert read_extras(tmp_path).key == ""
    (tmp_path / EXTRAS).write_text("{")
    with pytest.raises(ValueError, match=EXTRAS):
        read_extras(tmp_path)


def test_keys_are_told_apart_without_being_told() -> None:
    assert key_digest(b"a" * 64) != key_digest(b"b" * 64)
    assert len(key_digest(b"a" * 64)) == 8
