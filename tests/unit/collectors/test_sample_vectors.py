"""The shipped vectors are of the sample as it is now, whole, and what their README says of them is so."""

import numpy as np
import pytest

from collectors.sample.vectors import SHIPPED
from collectors.sources import read, source_named
from model_jobs.neural.cache import digest_of
from model_jobs.neural.export_file import VectorExport, read_export
from model_jobs.tfidf import text_of

DIMENSIONS = {"minilm": 384, "mpnet": 768}


@pytest.fixture(scope="module", params=SHIPPED)
def exported(request: pytest.FixtureRequest) -> VectorExport:
    return read_export(SHIPPED[request.param])


def test_every_song_has_a_vector_of_its_text(exported: VectorExport) -> None:
    songs = read(source_named("sample")).songs
    made_of = dict(zip(exported.song_ids, exported.digests, strict=True))
    assert made_of == {song.song_id: digest_of(text_of(song)) for song in songs}, "make the vectors again: README.md"
    assert exported.raw.shape == (len(songs), DIMENSIONS[exported.origin.arm])
    np.testing.assert_allclose(np.linalg.norm(exported.raw, axis=1), 1, atol=2e-3)


def test_the_readme_names_their_origin(exported: VectorExport) -> None:
    readme = SHIPPED[exported.origin.arm].with_name("README.md").read_text(encoding="utf-8")
    assert exported.origin.model in readme and exported.origin.revision in readme
    assert all(f"{name} {exported.origin.libraries[name]}" in readme for name in ("torch", "transformers"))


def test_songs_of_one_anime_lie_together(exported: VectorExport) -> None:
    anime = {song.song_id: song.anime.anime_id for song in read(source_named("sample")).songs}
    of_row = np.array([anime[song_id] for song_id in exported.song_ids])
    cosines = exported.raw @ exported.raw.T
    np.fill_diagonal(cosines, np.nan)
    same = of_row[:, None] == of_row[None, :]
    assert np.nanmean(cosines[same]) > np.nanmean(cosines[~same]) + 0.3
