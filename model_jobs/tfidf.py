"""tf-idf of what is written about a song: its text columns joined, English stop words left out.

Raw rows are counts × idf. They are not normalised, so the sum of songs' raw rows is, but for its length, the tf-idf
vector of their joined texts: counts add up, idf does not change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from contracts.catalogue import Song
from model_jobs.model import Report, Vectors, no_report
from services.common.process.startup import importing_without_pandas


def text_of(song: Song) -> str:
    """The text columns of a song, joined: title, anime titles, all credits but chorus, tags, genres."""
    anime = [appearance.anime for appearance in song.appearances]
    titles = [title for a in anime for title in (a.title, a.title_romaji, a.title_en, a.title_jp) if title]
    credits = song.credits
    people = [*credits.vocals, *credits.lyrics, *credits.composition, *credits.arrangement]
    genres = [genre for a in anime for genre in a.genres]
    return " ".join([song.title, *dict.fromkeys(titles), *people, *song.tags, *dict.fromkeys(genres)])


@dataclass(frozen=True)
class Tfidf:
    """scikit-learn's tf-idf with its own smoothed idf, ln((1 + n) / (1 + df)) + 1. Words of two characters or more."""

    arm: ClassVar[str] = "tfidf"
    vectors: ClassVar[Literal["dense", "sparse"]] = "sparse"
    code_version: ClassVar[int] = 1

    min_df: int = 1
    stop_words: Literal["english"] | None = "english"

    def params(self) -> dict[str, Any]:
        """What the vectors depend on, beside the songs."""
        return {"min_df": self.min_df, "stop_words": self.stop_words, "rows": "counts x idf"}

    def reads(self, song: Song) -> bytes:
        """The text."""
        return text_of(song).encode()

    def vectorizer(self) -> Any:
        """The scikit-learn vectorizer whose unnormalised rows these are."""
        # Imported here: it takes seconds, and a command that finds the model up to date needs none of it.
        with importing_without_pandas():
            from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer(stop_words=self.stop_words, min_df=self.min_df, norm=None, dtype=np.float64)

    def build(self, songs: Sequence[Song], report: Report = no_report) -> Vectors:
        """One sparse row a song. A song without any word (say "½" of an anime "!!!") is left out of this arm.

        Raises ValueError when no song has a word.
        """
        import scipy.sparse

        report("counting words", 0, len(songs))
        rows = scipy.sparse.csr_array(self.vectorizer().fit_transform(text_of(song) for song in songs))
        has_words = np.diff(rows.indptr) > 0
        left_out = {song.song_id: "no word in its texts" for song, has in zip(songs, has_words, strict=True) if not has}
        kept = [song.song_id for song, has in zip(songs, has_words, strict=True) if has]
        return Vectors(kept, rows[np.flatnonzero(has_words)].astype(np.float32), left_out)
