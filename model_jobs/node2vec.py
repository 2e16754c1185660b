"""node2vec: songs that share anime, people and tags lie together.

Walks over the song graph are sentences, nodes are words, Word2Vec (skip-gram with negative sampling) gives the vectors
(Grover and Leskovec 2016, with p = q = 1).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from contracts.catalogue import Song
from model_jobs.model import Report, Vectors, no_report
from model_jobs.song_graph import Csr, song_graph

_CHUNK: Final = 4_096


class _Sentences:
    """Walks as lists of words, made again for each pass: all of them at once as Python lists would be gigabytes."""

    def __init__(self, walks: NDArray[np.int32], words: Sequence[str], what: str, report: Report) -> None:
        self._walks, self._words, self._what, self._report = walks, words, what, report

    def __iter__(self) -> Iterator[list[str]]:
        words = self._words
        for start in range(0, len(self._walks), _CHUNK):
            self._report(self._what, start, len(self._walks))
            for walk in self._walks[start : start + _CHUNK].tolist():
                yield [words[node] for node in walk]


@dataclass(frozen=True)
class Node2Vec:
    """The defaults follow the original (walk length 10, window 5, p = q = 1), but with 64 dimensions instead of 16.

    Attributes:
        walks: how many start at each node.
        workers: threads of Word2Vec; only one gives the same vectors every time.
    """

    arm: ClassVar[str] = "node2vec"
    vectors: ClassVar[Literal["dense", "sparse"]] = "dense"
    code_version: ClassVar[int] = 1

    dimension: int = 64
    walk_length: int = 10
    walks: int = 20
    window: int = 5
    negative: int = 5
    epochs: int = 1
    workers: int = 1
    seed: int = 1

    def params(self) -> dict[str, Any]:
        """What the vectors depend on, beside the songs."""
        return asdict(self)

    def build(self, songs: Sequence[Song], report: Report = no_report) -> Vectors:
        """One dense row a song; none is left out, for a song has an anime at the least."""
        report("walking the song graph", 0, 1)
        csr = Csr(song_graph(songs))
        walks = csr.walks(self.walks, self.walk_length, np.random.default_rng(self.seed))
        trained = self._train(walks, csr.names, report)
        rows = np.stack([trained[f"song:{song.song_id}"] for song in songs]).astype(np.float32)
        return Vectors([song.song_id for song in songs], rows, {})

    def _train(self, walks: NDArray[np.int32], words: Sequence[str], report: Report) -> Any:
        # Imported here: it takes seconds, and a command that finds the model up to date needs none of it.
        from gensim.models import Word2Vec

        model = Word2Vec(
            vector_size=self.dimension,
            window=self.window,
            min_count=1,
            sg=1,
            negative=self.negative,
            workers=self.workers,
            seed=self.seed,
        )
        model.build_vocab(_Sentences(walks, words, "counting nodes", report))
        model.train(_Sentences(walks, words, "training", report), total_examples=len(walks), epochs=self.epochs)
        return model.wv
