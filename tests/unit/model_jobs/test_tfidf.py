"""tf-idf: what is counted, and that the sum of raw rows is the tf-idf of the joined text."""

import numpy as np
import pytest

from collectors.sources import read, source_named
from contracts.catalogue import Anime, Appearance, Credits, Song
from model_jobs.tfidf import Tfidf, text_of


@pytest.fixture(scope="module")
def songs() -> list[Song]:
    return read(source_named("sample")).songs


def song(song_id: str, title: str, anime: str = "!!!", **more: object) -> Song:
    appearance = Appearance(anime=Anime(anime_id="a", title=anime), relation="opening")
    return Song(song_id=song_id, title=title, appearances=(appearance,), **more)


def test_every_text_column_is_in_the_text() -> None:
    anime = Anime(anime_id="a", title="T1", title_romaji="T2", title_en="T3", title_jp="T4", genres=("G1",))
    names = Credits(vocals=("V1",), lyrics=("L1",), composition=("C1",), arrangement=("A1",), chorus=("no",))
    one = Song(
        song_id="x",
        title="S1",
        appearances=(Appearance(anime=anime, relation="opening"),),
        credits=names,
        tags=("tag",),
    )
    assert text_of(one).split() == ["S1", "T1", "T2", "T3", "T4", "V1", "L1", "C1", "A1", "tag", "G1"]


def test_the_sum_of_raw_rows_is_the_tf_idf_of_the_joined_text(songs: list[Song]) -> None:
    model = Tfidf()
    vectors = model.build(songs)
    reference = model.vectorizer().set_params(norm="l2").fit(text_of(song) for song in songs)
    row_of = {song_id: row for row, song_id in enumerate(vectors.song_ids)}
    rng = np.random.default_rng(3)
    for _ in range(20):
        picked = [songs[i] for i in rng.integers(0, len(songs), 7)]
        total = vectors.raw[[row_of[one.song_id] for one in picked]].sum(axis=0)
        joined = reference.transform([" ".join(text_of(one) for one in picked)]).toarray().ravel()
        np.testing.assert_allclose(total / np.linalg.norm(total), joined, atol=1e-6)


def test_stop_words_weigh_nothing() -> None:
    vectors = Tfidf().build([song("a", "the bridge"), song("b", "the and bridge bridge")])
    assert vectors.raw.shape == (2, 1)
    assert vectors.raw.toarray()[1, 0] == pytest.approx(2 * vectors.raw.toarray()[0, 0])


def test_a_song_without_any_word_is_left_out_with_a_reason() -> None:
    vectors = Tfidf().build([song("a", "½"), song("b", "bridge")])
    assert vectors.song_ids == ["b"] and list(vectors.left_out) == ["a"]
    with pytest.raises(ValueError, match="empty vocabulary"):
        Tfidf().build([song("a", "½")])
