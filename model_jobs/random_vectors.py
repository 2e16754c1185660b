"""Vectors without meaning, for benchmarks: they cost what an encoder's do; the record says they are made up."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np

from contracts.catalogue import Song
from model_jobs.model import Report, Vectors, no_report

# Arm → dimension of the encoder that the vectors stand in for.
DIMENSIONS: Final[dict[str, int]] = {"mpnet": 768, "minilm": 384}


@dataclass(frozen=True)
class RandomVectors:
    """Clustered random vectors: the songs of an anime lie in one cluster, as an encoder would put them."""

    vectors: ClassVar[Literal["dense", "sparse"]] = "dense"
    code_version: ClassVar[int] = 1

    arm: str
    clusters: int = 60
    spread: float = 0.7
    seed: int = 0

    def params(self) -> dict[str, Any]:
        """What the vectors depend on, beside the songs."""
        return {**asdict(self), "made_up": True, "dimension": DIMENSIONS[self.arm]}

    def build(self, songs: Sequence[Song], report: Report = no_report) -> Vectors:
        """One dense row a song: the centre of its anime's cluster, and noise."""
        report("drawing vectors", 0, len(songs))
        dimension = DIMENSIONS[self.arm]
        rng = np.random.default_rng([self.seed, dimension])
        centres = rng.standard_normal((self.clusters, dimension), dtype=np.float32)
        anime = {anime_id: number for number, anime_id in enumerate(sorted({song.anime.anime_id for song in songs}))}
        cluster_of_anime = rng.integers(0, self.clusters, len(anime))
        rows = centres[cluster_of_anime[[anime[song.anime.anime_id] for song in songs]]]
        rows += np.float32(self.spread) * rng.standard_normal(rows.shape, dtype=np.float32)
        return Vectors([song.song_id for song in songs], rows, {})
