"""What a listener of the tf-idf arm is, and what is near: as scikit-learn says of their favourites' joined text."""

from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from collectors.sources import read, source_named
from contracts.catalogue import Song
from contracts.models import LiveModel
from model_jobs.tfidf import Tfidf, text_of
from services.recommender.cold_start import ColdStart
from services.recommender.models import ServedModel
from services.recommender.profile_vectors import ProfileVectors

NO_LIST = ColdStart((), 0.0)


class NoIndex:
    """These tests never search."""

    def search(self, *_: object, **__: object) -> Any:
        raise AssertionError("no search here")

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def songs() -> dict[str, Song]:
    return {song.song_id: song for song in read(source_named("sample")).songs}


@pytest.fixture(scope="module")
def arm(songs: dict[str, Song]) -> ServedModel:
    vectors = Tfidf().build(list(songs.values()))
    record = LiveModel(
        arm="tfidf",
        version="0" * 16,
        vectors="sparse",
        dimension=vectors.raw.shape[1],
        songs=len(vectors.song_ids),
        catalogue_digest="",
        built_at=0,
    )
    return ServedModel(record, vectors.song_ids, vectors.raw, NoIndex())


@pytest.fixture(scope="module")
def reference(songs: dict[str, Song]) -> TfidfVectorizer:
    return TfidfVectorizer(stop_words="english").fit(text_of(song) for song in songs.values())


@pytest.mark.parametrize("favourites", [1, 2, 7, 60])
def test_a_listener_is_the_tf_idf_of_the_joined_text(
    songs: dict[str, Song], arm: ServedModel, reference: TfidfVectorizer, favourites: int
) -> None:
    rng, listeners = np.random.default_rng(favourites), ProfileVectors()
    rows = reference.transform(text_of(songs[song_id]) for song_id in arm.song_ids)
    for listener in range(10):
        liked = frozenset(rng.choice(arm.song_ids, favourites, replace=False).tolist())
        profile = listeners.vector(str(listener), arm, liked, NO_LIST).vector
        joined = reference.transform([" ".join(text_of(songs[song_id]) for song_id in sorted(liked))])
        np.testing.assert_allclose(profile / np.linalg.norm(profile), joined.toarray().ravel(), atol=1e-6)
        np.testing.assert_allclose(arm.scores(profile), (rows @ joined.T).toarray().ravel(), atol=1e-6)


def test_one_favourite_more_and_one_less_leaves_no_trace(
    songs: dict[str, Song], arm: ServedModel, reference: TfidfVectorizer
) -> None:
    listeners, liked = ProfileVectors(), frozenset(arm.song_ids[:40])
    listeners.vector("u", arm, liked, NO_LIST)
    for song_id in arm.song_ids[40:80]:
        listeners.vector("u", arm, liked | {song_id}, NO_LIST)
        profile = listeners.vector("u", arm, frozenset(liked), NO_LIST).vector
    joined = reference.transform([" ".join(text_of(songs[song_id]) for song_id in sorted(liked))])
    np.testing.assert_allclose(profile / np.linalg.norm(profile), joined.toarray().ravel(), atol=1e-6)
