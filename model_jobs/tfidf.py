"""tf-idf of what is written about a song: its text columns joined, English stop words left out.

Raw rows are counts × idf. They are not normalised, so the sum of songs' raw rows is, but for its length, the tf-idf
vector of their joined texts: counts add up, idf does not change.

Words and weights are those of scikit-learn's `TfidfVectorizer(stop_words="english")`. It is not called: importing it
takes several times longer than the build.
"""

import re
import runpy
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np

from contracts.catalogue import Song
from model_jobs.model import Report, Vectors, no_report

# Letters, digits and underscores, two or more.
_WORD: Final = re.compile(r"\b\w\w+\b")


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
    """tf-idf with scikit-learn's smoothed idf, ln((1 + n) / (1 + df)) + 1. Words of two characters or more."""

    arm: ClassVar[str] = "tfidf"
    vectors: ClassVar[Literal["dense", "sparse"]] = "sparse"
    code_version: ClassVar[int] = 2

    min_df: int = 1
    stop_words: Literal["english"] | None = "english"

    def params(self) -> dict[str, Any]:
        """What the vectors depend on, beside the songs."""
        return {"min_df": self.min_df, "stop_words": self.stop_words, "rows": "counts x idf"}

    def reads(self, song: Song) -> bytes:
        """The text."""
        return text_of(song).encode()

    def build(self, songs: Sequence[Song], report: Report = no_report) -> Vectors:
        """One sparse row a song. A song without any word (say "½" of an anime "!!!") is left out of this arm.

        Columns are words in alphabetical order. Raises ValueError when no song has a word.
        """
        report("counting words", 0, len(songs))
        stopped = english_stop_words() if self.stop_words == "english" else frozenset()
        rows = _weighted(_counted(map(text_of, songs), stopped), self.min_df)
        has_words = np.diff(rows.indptr) > 0
        if not has_words.any():
            raise ValueError("empty vocabulary: no song of the catalogue has a word in its texts")
        left_out = {song.song_id: "no word in its texts" for song, has in zip(songs, has_words, strict=True) if not has}
        kept = [song.song_id for song, has in zip(songs, has_words, strict=True) if has]
        return Vectors(kept, rows[np.flatnonzero(has_words)].astype(np.float32), left_out)


@cache
def english_stop_words() -> frozenset[str]:
    """scikit-learn's list. Its file holds nothing else, so it is read by itself. Raises ImportError without it."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise ImportError("scikit-learn is missing; install the package's dependencies again")
    file = Path(found.origin).parent / "feature_extraction" / "_stop_words.py"
    words: frozenset[str] = runpy.run_path(str(file))["ENGLISH_STOP_WORDS"]
    return words


def _counted(texts: Iterable[str], stopped: frozenset[str]) -> Any:
    """CSR of float64 (texts, words): how often a word stands in a text; columns in alphabetical order."""
    import scipy.sparse

    numbers: dict[str, int] = {}
    words, starts = array("i"), array("q", [0])
    for text in texts:
        words.extend(
            [numbers.setdefault(word, len(numbers)) for word in _WORD.findall(text.lower()) if word not in stopped]
        )
        starts.append(len(words))
    column = np.empty(len(numbers), dtype=np.int32)
    column[[numbers[word] for word in sorted(numbers)]] = np.arange(len(numbers))
    columns = column[np.frombuffer(words, dtype=np.int32)]
    counts = scipy.sparse.csr_array((np.ones(len(columns)), columns, starts), (len(starts) - 1, len(numbers)))
    counts.sum_duplicates()
    return counts


def _weighted(counts: Any, min_df: int) -> Any:
    """Counts × idf, without the words of fewer than `min_df` songs."""
    having = np.bincount(counts.indices, minlength=counts.shape[1])
    counts.data *= (np.log((1 + counts.shape[0]) / (1 + having)) + 1)[counts.indices]
    return counts if min_df <= 1 else counts[:, np.flatnonzero(having >= min_df)]
