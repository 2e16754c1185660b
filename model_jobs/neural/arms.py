"""Collections of a sentence model's vectors: encoded here, or imported from where they were encoded.

A song's text is the paper's: title, anime, vocals, lyrics, composition, arrangement, tags, genres (`tfidf.text_of`).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from contracts.catalogue import Song
from model_jobs.model import Report, Vectors, no_report
from model_jobs.neural.cache import EmbeddingCache, digest_of
from model_jobs.neural.encoder import OpenEncoder, open_encoder
from model_jobs.neural.weights import Weights, find_weights
from model_jobs.tfidf import text_of

# Rises whenever `text_of` gives a song another text.
TEXT_VERSION: Final = 1
NOT_ENCODED: Final = "its text was never encoded; a machine with the extra `neural` does that"

Known = Mapping[str, NDArray[np.float32]]


class Neural:
    """An arm that encodes what it has no vector of yet. The model is loaded only when there is such a text."""

    vectors: ClassVar[Literal["dense", "sparse"]] = "dense"
    code_version: ClassVar[int] = 1

    def __init__(
        self,
        arm: str,
        name_or_path: str,
        cache_dir: Path,
        *,
        find: Callable[[str, str], Weights] = find_weights,
        opened: OpenEncoder = open_encoder,
    ) -> None:
        self.arm = arm
        self._name_or_path = name_or_path
        self._cache_dir = cache_dir
        self._find, self._opened = find, opened
        # Where the last build encoded.
        self.device = "cpu"

    @cached_property
    def weights(self) -> Weights:
        """The model's files. Raises RuntimeError or ValueError with what to do where they cannot be had."""
        return self._find(self.arm, self._name_or_path)

    def reads(self, song: Song) -> bytes:
        """The text, all that a vector is made of."""
        return text_of(song).encode()

    def params(self) -> dict[str, Any]:
        """What the vectors depend on, beside the songs: not where the weights lie. Raises as `weights` does."""
        return {"model": self.weights.name, "revision": self.weights.revision, "text": TEXT_VERSION}

    def build(self, songs: Sequence[Song], report: Report = no_report) -> Vectors:
        """One dense row a song. What was encoded before is taken from the cache; a build that was killed goes on.

        Raises RuntimeError or ValueError with what to do where the model cannot be had.
        """
        cache = EmbeddingCache(self._cache_dir, self.arm, self.weights.revision)
        texts = {digest_of(text): text for text in map(text_of, songs)}
        known = cache.known(list(texts))
        missing = [digest for digest in texts if digest not in known]
        if missing:
            known |= self._encoded({digest: texts[digest] for digest in missing}, cache, report)
        encoded = set(missing)
        found = rows_of(songs, known)
        reused = sum(digest_of(text_of(song)) not in encoded for song in songs)
        return Vectors(found.song_ids, found.raw, found.left_out, reused)

    def _encoded(self, texts: Mapping[str, str], cache: EmbeddingCache, report: Report) -> Known:
        """Encode and keep, batch by batch."""
        report(f"loading {self.weights.name}", 0, len(texts))
        encoder = self._opened(self.arm, self.weights)
        self.device = encoder.device
        # Of equal length in a batch, so that none is padded much; the longest first, so that the rate only rises.
        order = sorted(texts, key=lambda digest: (-len(texts[digest]), digest))
        found: dict[str, NDArray[np.float32]] = {}
        for start in range(0, len(order), encoder.batch):
            report(f"encoding on {encoder.device}", start, len(order))
            batch = order[start : start + encoder.batch]
            rows = encoder.encode([texts[digest] for digest in batch])
            cache.put(batch, rows)
            found.update(zip(batch, rows, strict=True))
        report(f"encoding on {encoder.device}", len(order), len(order))
        return found


class Imported:
    """An arm of vectors that were encoded elsewhere: needs neither weights nor torch, and knows no new text."""

    vectors: ClassVar[Literal["dense", "sparse"]] = "dense"
    code_version: ClassVar[int] = 1

    def __init__(self, arm: str, model: str, revision: str, cache_dir: Path) -> None:
        self.arm = arm
        self._model, self._revision = model, revision
        self._cache = EmbeddingCache(cache_dir, arm, revision)

    @property
    def is_there(self) -> bool:
        """Whether there are any vectors of this revision on this machine."""
        return self._cache.path.is_file()

    def reads(self, song: Song) -> bytes:
        """The text, by which a vector is found."""
        return text_of(song).encode()

    def params(self) -> dict[str, Any]:
        """As `Neural`'s, and what vectors are there: more of them make another version."""
        known = {"imported": self._cache.content_digest()}
        return {"model": self._model, "revision": self._revision, "text": TEXT_VERSION, **known}

    def build(self, songs: Sequence[Song], report: Report = no_report) -> Vectors:
        """One dense row for each song whose text has a vector. Raises ValueError when none has."""
        report("looking up vectors", 0, len(songs))
        found = rows_of(songs, self._cache.known([digest_of(text_of(song)) for song in songs]))
        if not found.song_ids:
            raise ValueError(
                f"{self.arm} was not built: none of these vectors is of a song as the catalogue describes it; export "
                "them again from a machine with the same catalogue"
            )
        return Vectors(found.song_ids, found.raw, found.left_out, reused=len(found.song_ids))


def rows_of(songs: Sequence[Song], known: Known) -> Vectors:
    """One dense row for each song whose text is in `known` (digest -> vector); the others are left out."""
    digests = {song.song_id: digest_of(text_of(song)) for song in songs}
    there = [song_id for song_id, digest in digests.items() if digest in known]
    left_out = {song_id: NOT_ENCODED for song_id, digest in digests.items() if digest not in known}
    raw = np.stack([known[digests[song_id]] for song_id in there]) if there else np.zeros((0, 0), np.float32)
    return Vectors(there, raw, left_out)
