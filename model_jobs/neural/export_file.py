"""The file of a vector export, Parquet: from a machine that encoded the vectors to one that has no encoder.

    song_id      string; for people, a song is found by its text
    text_digest  string, 32 hex digits: of the text that was encoded
    vector       fixed-size list of float16 or float32

The file's metadata has, under `animusic`, a JSON object: arm, model, revision, dimension, text (the version of the way
from a song to its text), created_at, libraries. What is read is checked before anything is changed.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.events import ArmName
from model_jobs.neural.arms import TEXT_VERSION

Precision = Literal["float16", "float32"]

_METADATA: Final = b"animusic"
_COLUMNS: Final = ("song_id", "text_digest", "vector")
_LIBRARIES: Final = ("sentence-transformers", "torch", "transformers", "tokenizers", "numpy", "pyarrow")
_DIGEST: Final = re.compile("[0-9a-f]{32}")


class Origin(BaseModel):
    """Where vectors come from: the file's metadata.

    Attributes:
        revision: of the model's weights and configuration (see neural.weights).
        text: the version of the way from a song to its text.
        libraries: on the machine that exported, name → version.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    arm: ArmName
    model: str
    revision: str = Field(pattern="^[0-9a-f]{32}$")
    dimension: int = Field(ge=1, le=65_536)
    text: int
    created_at: str
    libraries: dict[str, str] = {}


@dataclass(frozen=True)
class VectorExport:
    """Vectors with their origin: song id and text digest by row of `raw`, float32 (n, d)."""

    origin: Origin
    song_ids: Sequence[str]
    digests: Sequence[str]
    raw: NDArray[np.float32]


def origin_of(arm: str, params: dict[str, Any], dimension: int) -> Origin:
    """The origin of a live model's vectors. Raises ValueError for a model that no encoder made."""
    if "revision" not in params:
        raise ValueError(f"{arm}'s live model was not made by an encoder: any machine can build it for itself")
    return Origin(
        arm=arm,
        model=params["model"],
        revision=params["revision"],
        dimension=dimension,
        text=params["text"],
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        libraries={name: found for name in _LIBRARIES if (found := _version(name))},
    )


def write_export(path: Path, exported: VectorExport, precision: Precision) -> None:
    """Write a file, whole or not at all. float16 keeps three digits of each number: cosines move by less than 1e-6."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = pa.array(exported.raw.astype(precision).ravel())
    columns = [pa.array(exported.song_ids), pa.array(exported.digests), _rows(flat, exported.origin.dimension)]
    metadata = {_METADATA: exported.origin.model_dump_json().encode()}
    table = pa.table(dict(zip(_COLUMNS, columns, strict=True)), metadata=metadata)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(table, unfinished, compression="zstd", write_page_checksum=True)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_export(path: Path) -> VectorExport:
    """Read and check a file. Raises ValueError with what is wrong with it, FileNotFoundError where there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; `animusic models export ARM FILE` makes one")
    try:
        table = pq.read_table(path, page_checksum_verification=True, memory_map=False)
    except (pa.ArrowException, OSError) as error:
        raise _unfit(path, f"it cannot be read whole ({str(error).splitlines()[0]})") from error
    origin = _origin(path, table.schema.metadata or {})
    _check_schema(path, table.schema, origin)
    columns = [table.column(name).combine_chunks() for name in _COLUMNS]
    if any(column.null_count for column in columns):
        raise _unfit(path, "it has empty cells")
    raw = columns[2].flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, origin.dimension)
    exported = VectorExport(origin, columns[0].to_pylist(), columns[1].to_pylist(), raw)
    _check_content(path, exported)
    return exported


def _origin(path: Path, metadata: dict[bytes, bytes]) -> Origin:
    if _METADATA not in metadata:
        raise _unfit(path, "it does not say which model made its vectors")
    try:
        origin = Origin.model_validate_json(metadata[_METADATA])
    except ValidationError as error:
        wrong = ", ".join(str(detail["loc"][0]) if detail["loc"] else "all" for detail in error.errors())
        raise _unfit(path, f"what it says of its origin is not good: {wrong}") from error
    if origin.text != TEXT_VERSION:
        raise _unfit(path, f"songs were described otherwise then (version {origin.text}, now {TEXT_VERSION})")
    return origin


def _check_schema(path: Path, schema: Any, origin: Origin) -> None:
    import pyarrow as pa

    halves = [pa.list_(kind(), origin.dimension) for kind in (pa.float16, pa.float32)]
    kinds = {"song_id": [pa.string()], "text_digest": [pa.string()], "vector": halves}
    for name, wanted in kinds.items():
        found = schema.field(name).type if name in schema.names else "missing"
        if found not in wanted:
            raise _unfit(path, f"the column {name} is {found}, not {wanted[-1]}")


def _check_content(path: Path, exported: VectorExport) -> None:
    if not len(exported.raw):
        raise _unfit(path, "it has no rows")
    if not np.isfinite(exported.raw).all():
        raise _unfit(path, "some of its vectors hold NaN or infinity")
    if not exported.raw.any(axis=1).all():
        raise _unfit(path, "some of its vectors are all zeros")
    if not all(map(_DIGEST.fullmatch, exported.digests)):
        raise _unfit(path, "some of its text digests are none")


def _unfit(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} was not imported, nothing was changed: {why}; export it again: animusic models export")


def _rows(flat: Any, dimension: int) -> Any:
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(flat, dimension)


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
