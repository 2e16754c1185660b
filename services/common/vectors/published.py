"""A published model: one directory, complete from the moment that it has its name, never changed afterwards.

    <vectors_dir>/<arm>-<version>/
        model.json   the LiveModel record that switches to it
        songs.json   the song ids by row
        raw.npy      dense: float32 (n, d), as the model made them, not normalised
        raw.npz      sparse: CSR float32 (n, vocabulary): counts × idf, not normalised
        shard/       the same rows at length 1, as a Qdrant Edge shard; point id = point_id_of(song id)

The raw rows are kept beside the shard because a cosine collection forgets their length, and the mean of favoured songs
needs it. scipy is imported where a sparse model is loaded: it takes a second, and most commands load none.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.catalogue import point_id_of
from contracts.models import LiveModel
from services.common.vectors.index import PointIds

SHARD: Final = "shard"
_MODEL, _SONGS, _DENSE, _SPARSE = "model.json", "songs.json", "raw.npy", "raw.npz"


@dataclass(frozen=True)
class Published:
    """One published model, loaded.

    Attributes:
        song_ids: by row of `raw`.
        raw: dense float32 (n, d), mapped read-only from the file; sparse scipy `csr_array` float32 (n, vocabulary).
        shard: directory of the search index.
    """

    record: LiveModel
    song_ids: list[str]
    raw: NDArray[np.float32] | Any
    shard: Path

    def point_ids(self) -> PointIds:
        """The points of the rows: uint64 (n,)."""
        return points_of(self.song_ids)


def points_of(song_ids: Sequence[str]) -> PointIds:
    """The point ids of songs: uint64 (n,)."""
    return np.fromiter((point_id_of(song_id) for song_id in song_ids), np.uint64, len(song_ids))


def load_published(directory: Path) -> Published:
    """Load a published model. Raises FileNotFoundError when there is none in `directory`, or when a file is missing."""
    try:
        record = LiveModel.model_validate_json((directory / _MODEL).read_bytes())
        song_ids: list[str] = json.loads((directory / _SONGS).read_bytes())
    except FileNotFoundError as missing:
        raise FileNotFoundError(f"no published model in {directory}; `animusic models build` makes one") from missing
    raw: Any
    if record.vectors == "dense":
        raw = np.load(directory / _DENSE, mmap_mode="r")
    else:
        import scipy.sparse

        raw = scipy.sparse.csr_array(scipy.sparse.load_npz(directory / _SPARSE))
    return Published(record, song_ids, raw, directory / SHARD)


def write_files(directory: Path, record: LiveModel, song_ids: Sequence[str], raw: NDArray[np.float32] | Any) -> None:
    """Write all of a model but its shard into `directory`, which exists. For the job that publishes it."""
    if record.vectors == "dense":
        np.save(directory / _DENSE, np.asarray(raw, dtype=np.float32))
    else:
        import scipy.sparse

        scipy.sparse.save_npz(directory / _SPARSE, scipy.sparse.csr_array(raw, dtype=np.float32), compressed=False)
    (directory / _SONGS).write_text(json.dumps(list(song_ids)), encoding="utf-8")
    (directory / _MODEL).write_bytes(record.log_value())


def published_models(vectors_dir: Path) -> list[LiveModel]:
    """The models that lie complete in `vectors_dir`, newest first; unfinished directories begin with a dot."""
    if not vectors_dir.is_dir():
        return []
    found = [path / _MODEL for path in vectors_dir.iterdir() if not path.name.startswith(".")]
    records = [LiveModel.model_validate_json(path.read_bytes()) for path in found if path.is_file()]
    return sorted(records, key=lambda record: (record.built_at, record.collection), reverse=True)
