"""Files of vectors: what is written is read again, and what is not whole or not sound is refused with the reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_jobs.neural.cache import digest_of
from model_jobs.neural.export_file import Origin, VectorExport, origin_of, read_export, write_export

PARAMS: dict[str, Any] = {"model": "hashes", "revision": "ab" * 16, "text": 1}
ORIGIN = origin_of("minilm", PARAMS, 6)
RAW = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
NAMES = [f"song-{row}" for row in range(20)]
DIGESTS = [digest_of(name) for name in NAMES]


def written(path: Path, precision: Any = "float32", *, origin: Origin = ORIGIN, raw: Any = RAW) -> Path:
    write_export(path, VectorExport(origin, NAMES, DIGESTS, raw), precision)
    return path


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 0), ("float16", 1e-3)])
def test_what_is_written_is_read_again(tmp_path: Path, precision: Any, tolerance: float) -> None:
    found = read_export(written(tmp_path / "v.parquet", precision))
    assert found.origin == ORIGIN and found.song_ids == NAMES and found.digests == DIGESTS
    assert found.raw.dtype == np.float32
    np.testing.assert_allclose(found.raw, RAW, rtol=tolerance)
    assert [path.name for path in tmp_path.iterdir()] == ["v.parquet"]
    assert ORIGIN.libraries["pyarrow"] == pa.__version__


def test_a_file_that_was_cut_short_or_changed_is_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "v.parquet").read_bytes()
    for number, broken in enumerate(
        (whole[:-40], whole[:200], b"", whole[:60] + b"\xff\xff" + whole[62:], b"a,b\n1,2\n")
    ):
        path = tmp_path / f"{number}.parquet"
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=rf"{number}\.parquet was not imported, nothing was changed: .* export"):
            read_export(path)


def test_no_file_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="animusic models export ARM FILE"):
        read_export(tmp_path / "none.parquet")


def replaced(tmp_path: Path, name: str, column: Any) -> Path:
    """A file with one column exchanged."""
    table = pq.read_table(written(tmp_path / "v.parquet"))
    changed = table.set_column(table.schema.names.index(name), name, column)
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), tmp_path / "v.parquet")
    return tmp_path / "v.parquet"


def lists(raw: Any) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(raw.ravel()), raw.shape[1])


@pytest.mark.parametrize(
    ("name", "column", "why"),
    [
        ("vector", lists(RAW[:, :5].copy()), "the column vector is"),
        ("vector", lists(RAW.astype(np.float64)), "the column vector is"),
        ("vector", lists(np.where(RAW[3, 2] == RAW, np.nan, RAW)), "NaN"),
        ("vector", lists(np.where(RAW[3] == RAW, 0, RAW).astype(np.float32)), "all zeros"),
        ("text_digest", pa.array(list(range(20))), "the column text_digest is int64"),
        ("text_digest", pa.array([*DIGESTS[:-1], None]), "empty cells"),
        ("text_digest", pa.array([*DIGESTS[:-1], "../../etc"]), "text digests"),
    ],
)
def test_columns_that_are_not_sound_are_refused(tmp_path: Path, name: str, column: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_export(replaced(tmp_path, name, column))


def test_a_parquet_file_of_somebody_elses_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="does not say which model"):
        read_export(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"arm": "nobody"}, "not good: arm"),
        ({"revision": "../x"}, "not good: revision"),
        ({"text": 2}, "version 2, now 1"),
    ],
)
def test_an_origin_that_is_not_ours_is_refused(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    path = written(tmp_path / "v.parquet", origin=ORIGIN.model_copy(update=change))
    with pytest.raises(ValueError, match=why):
        read_export(path)


def test_models_without_an_encoder_are_not_exported() -> None:
    with pytest.raises(ValueError, match="not made by an encoder"):
        origin_of("tfidf", {"min_df": 1}, 6)
