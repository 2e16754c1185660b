"""Sentence models encode what was never encoded, whatever happened in between."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model_jobs.model import version_of
from model_jobs.neural.arms import NOT_ENCODED, Imported
from model_jobs.neural.cache import EmbeddingCache, digest_of
from model_jobs.tfidf import text_of
from services.common.settings import REPO_ROOT
from tests.support.waiting import poll
from tests.unit.model_jobs.neural_worlds import WEIGHTS, HashEncoder, neural, said, sample_songs

SONGS = sample_songs(40)


def test_rows_are_the_encoders_in_the_order_of_the_songs(tmp_path: Path) -> None:
    vectors = neural(tmp_path, HashEncoder()).build(SONGS)
    assert vectors.song_ids == [song.song_id for song in SONGS] and not vectors.left_out and vectors.reused == 0
    np.testing.assert_array_equal(vectors.raw, HashEncoder().encode([text_of(song) for song in SONGS]))


def test_only_new_and_changed_texts_are_encoded(tmp_path: Path) -> None:
    neural(tmp_path, HashEncoder()).build(SONGS[:-1])
    changed = SONGS[3].model_copy(update={"tags": ("another",)})
    encoder = HashEncoder()
    vectors = neural(tmp_path, encoder).build([*SONGS[:3], changed, *SONGS[4:]])
    assert sorted(encoder.seen) == sorted([text_of(changed), text_of(SONGS[-1])])
    assert vectors.reused == len(SONGS) - 2
    assert np.array_equal(vectors.raw, HashEncoder().encode([text_of(s) for s in [*SONGS[:3], changed, *SONGS[4:]]]))


def test_an_encoder_without_anything_to_encode_is_not_loaded(tmp_path: Path) -> None:
    neural(tmp_path, HashEncoder()).build(SONGS)
    lines: list[str] = []
    assert neural(tmp_path, HashEncoder()).build(SONGS, said(lines)).reused == len(SONGS)
    assert lines == []


def test_one_text_is_encoded_once_and_the_longest_come_first(tmp_path: Path) -> None:
    twin = SONGS[0].model_copy(update={"song_id": "twin"})
    encoder = HashEncoder()
    vectors = neural(tmp_path, encoder).build([*SONGS, twin])
    assert len(encoder.seen) == len(SONGS) and np.array_equal(vectors.raw[0], vectors.raw[-1])
    assert [len(text) for text in encoder.seen] == sorted(map(len, encoder.seen), reverse=True)


def test_progress_counts_texts(tmp_path: Path) -> None:
    lines: list[str] = []
    neural(tmp_path, HashEncoder(batch=25)).build(SONGS, said(lines))
    assert lines == ["loading hashes 0/40", *(f"encoding on cpu {done}/40" for done in (0, 25, 40))]


def test_a_killed_build_goes_on_where_it_was(tmp_path: Path) -> None:
    songs, cache = sample_songs(), EmbeddingCache(tmp_path, "minilm", WEIGHTS.revision)
    digests = [digest_of(text_of(song)) for song in songs]
    command = [sys.executable, "-m", "tests.unit.model_jobs.neural_worlds", str(tmp_path)]
    build = subprocess.Popen(command, cwd=REPO_ROOT)
    try:
        poll(lambda: len(cache.known(digests)) >= 30, timeout=30, interval=0.02, what="three batches are kept")
    finally:
        build.kill()
        build.wait()
    kept = len(cache.known(digests))
    assert 30 <= kept < len(set(digests)) and kept % 10 == 0
    encoder = HashEncoder()
    vectors = neural(tmp_path, encoder).build(songs)
    assert len(encoder.seen) == len(set(digests)) - kept
    np.testing.assert_array_equal(vectors.raw, HashEncoder().encode([text_of(song) for song in songs]))


def test_the_version_follows_the_model_not_its_path(tmp_path: Path) -> None:
    model = neural(tmp_path, HashEncoder())
    assert model.params() == {"model": "hashes", "revision": "ab" * 16, "text": 1}
    assert version_of(model, "c") == version_of(neural(tmp_path / "other", HashEncoder()), "c")


def test_brought_vectors_leave_out_what_was_never_encoded(tmp_path: Path) -> None:
    encoded = neural(tmp_path, HashEncoder()).build(SONGS[:30])
    imported = Imported("minilm", "hashes", WEIGHTS.revision, tmp_path)
    vectors = imported.build(SONGS)
    assert np.array_equal(vectors.raw, encoded.raw) and vectors.reused == 30
    assert vectors.left_out == {song.song_id: NOT_ENCODED for song in SONGS[30:]}
    before = version_of(imported, "c")
    neural(tmp_path, HashEncoder()).build(SONGS[30:])
    assert version_of(imported, "c") != before
    assert not imported.build(SONGS).left_out


def test_vectors_of_no_song_make_no_arm(tmp_path: Path) -> None:
    neural(tmp_path, HashEncoder()).build(SONGS[:5])
    with pytest.raises(ValueError, match="none of these vectors is of a song"):
        Imported("minilm", "hashes", WEIGHTS.revision, tmp_path).build(SONGS[5:])


def test_a_damaged_cache_says_what_to_do(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "minilm", WEIGHTS.revision)
    cache.path.write_bytes(b"no database" * 1_000)
    with pytest.raises(RuntimeError, match=r"is damaged .* remove it"):
        neural(tmp_path, HashEncoder()).build(SONGS)


def test_another_dimension_does_not_come_between(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "minilm", WEIGHTS.revision)
    cache.put(["a" * 32], np.ones((1, 3), np.float32))
    with pytest.raises(ValueError, match="3 dimensions, not 4"):
        cache.put(["b" * 32], np.ones((1, 4), np.float32))
    assert list(cache.known(["a" * 32, "b" * 32])) == ["a" * 32]
