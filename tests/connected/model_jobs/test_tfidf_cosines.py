"""What the shard of the tf-idf arm answers: scikit-learn's cosines with the joined text of a listener's favourites."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from collectors.synthetic import synthetic_songs
from model_jobs.tfidf import Tfidf, text_of
from services.common.vectors.edge import EdgeIndex, write_shard
from services.common.vectors.published import points_of

pytestmark = pytest.mark.connected


def test_cosines_of_the_shard_are_those_of_scikit_learn(tmp_path: Path) -> None:
    songs = synthetic_songs(400)
    vectors, points = Tfidf().build(songs), points_of([song.song_id for song in songs])
    write_shard(tmp_path / "shard", points, vectors.raw)
    reference = TfidfVectorizer(stop_words="english")
    rows = reference.fit_transform(text_of(song) for song in songs)
    row_of = {int(point): row for row, point in enumerate(points)}
    rng = np.random.default_rng(5)
    index = EdgeIndex.open(tmp_path / "shard")
    try:
        for favourites in (1, 3, 20):
            liked = rng.choice(len(songs), favourites, replace=False)
            mean = np.asarray(vectors.raw[liked].mean(axis=0), dtype=np.float64).ravel()
            words = np.flatnonzero(mean)
            found, cosines = index.search((words.astype(np.int32), mean[words].astype(np.float32)), k=50)
            joined = reference.transform([" ".join(text_of(songs[row]) for row in liked)])
            exact = (rows @ joined.T).toarray().ravel()
            np.testing.assert_allclose(cosines, exact[[row_of[int(point)] for point in found]], atol=1e-6)
            np.testing.assert_allclose(cosines, np.sort(exact)[::-1][:50], atol=1e-6)
    finally:
        index.close()
