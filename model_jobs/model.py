"""The interface of a model builder, and the version of a model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Literal, Protocol, runtime_checkable

import numpy as np
import orjson
from numpy.typing import NDArray

from contracts.catalogue import Song, catalogue_digest

VERSION_DIGITS: Final = 16

# Progress of a job: (current step, steps done, steps in all).
Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Vectors:
    """Vectors of songs, as made, not normalised.

    Attributes:
        song_ids: by row.
        raw: dense float32 (n, d), or a scipy `csr_array` of float32 (n, vocabulary).
        left_out: song id → why the model has nothing to say about it.
        reused: rows that an earlier build had computed already.
    """

    song_ids: list[str]
    raw: NDArray[np.float32] | Any
    left_out: Mapping[str, str]
    reused: int = 0

    @property
    def dense(self) -> bool:
        """Whether a row is an array, not a row of a sparse matrix."""
        return isinstance(self.raw, np.ndarray)


class ModelBuilder(Protocol):
    """One arm's way from songs to vectors. `code_version` rises whenever the same input would give other vectors."""

    @property
    def arm(self) -> str:
        """The arm that queries the collection."""
        ...

    @property
    def vectors(self) -> Literal["dense", "sparse"]:
        """Of which kind the rows are."""
        ...

    @property
    def code_version(self) -> int:
        """The version of this way of building."""
        ...

    def params(self) -> dict[str, Any]:
        """All that the vectors depend on, beside the songs."""
        ...

    def build(self, songs: Sequence[Song], report: Report) -> Vectors:
        """The vectors of songs, which come ordered by song id. Deterministic. Raises ValueError when there are none."""
        ...


@runtime_checkable
class Selective(Protocol):
    """A model that says what it reads of a song; what it does not read (a link's views, say) asks for no new build."""

    def reads(self, song: Song) -> bytes:
        """All of a song that the vectors depend on: equal bytes, equal vectors."""
        ...


def content_digest(model: ModelBuilder, songs: Mapping[str, Song], values: Mapping[str, bytes]) -> str:
    """32 hex digits of what a model reads of a catalogue: songs and their record values by song id."""
    if isinstance(model, Selective):
        return catalogue_digest({song_id: model.reads(song) for song_id, song in songs.items()})
    return catalogue_digest(values)


def no_report(what: str, done: int, steps: int) -> None:
    """Report nothing."""


def version_of(model: ModelBuilder, digest: str) -> str:
    """16 hex digits: the same `content_digest`, parameters and code give the same version, and need no second build."""
    content = {"catalogue": digest, "code": model.code_version, "params": model.params(), "arm": model.arm}
    return blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=VERSION_DIGITS // 2).hexdigest()
