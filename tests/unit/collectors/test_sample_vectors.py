"""The shipped vectors are of the sample as it is now, whole, and what their README says of them is so."""

import numpy as np
import pytest

from collectors.sample.vectors import SHIPPED
from collectors.sources import read, source_named
from model_jobs.neural.cache import digest_of
from model_jobs.neural.parcel import Parcel, read_parcel
from model_jobs.tfidf import text_of

DIMENSIONS = {"minilm": 384, "mpnet": 768}


@pytest.fixture(scope="module", params=SHIPPED)
def parcel(request: pytest.FixtureRequest) -> Parcel:
    return read_parcel(SHIPPED[request.param])


def test_every_song_has_a_vector_of_its_text(parcel: Parcel) -> None:
    songs = read(source_named("sample")).songs
    made_of = dict(zip(parcel.song_ids, parcel.digests, strict=True))
    assert made_of == {song.song_id: digest_of(text_of(song)) for song in songs}, "make the vectors again: README.md"
    assert parcel.raw.shape == (len(songs), DIMENSIONS[parcel.origin.arm])
    np.testing.assert_allclose(np.linalg.norm(parcel.raw, axis=1), 1, atol=2e-3)


def test_the_readme_names_their_origin(parcel: Parcel) -> None:
    readme = SHIPPED[parcel.origin.arm].with_name("README.md").read_text(encoding="utf-8")
    assert parcel.origin.model in readme and parcel.origin.revision in readme
    assert all(f"{name} {parcel.origin.libraries[name]}" in readme for name in ("torch", "transformers"))


def test_songs_of_one_anime_lie_together(parcel: Parcel) -> None:
    anime = {song.song_id: song.anime.anime_id for song in read(source_named("sample")).songs}
    of_row = np.array([anime[song_id] for song_id in parcel.song_ids])
    cosines = parcel.raw @ parcel.raw.T
    np.fill_diagonal(cosines, np.nan)
    same = of_row[:, None] == of_row[None, :]
    assert np.nanmean(cosines[same]) > np.nanmean(cosines[~same]) + 0.3
