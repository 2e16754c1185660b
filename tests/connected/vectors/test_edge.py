"""The Qdrant Edge adapter against the conformance suite, and what only it promises: many processes, one directory."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.common.vectors.edge import EdgeIndex, write_shard
from services.common.vectors.index import VectorIndex
from tests.connected.vectors.conformance import Conformance, clustered, point_ids

pytestmark = pytest.mark.connected

_CHILD = """
import sys
from pathlib import Path
import numpy as np
from services.common.vectors.edge import EdgeIndex
query = np.load(sys.argv[2])
for _ in range(5):
    index = EdgeIndex.open(Path(sys.argv[1]))
    found = index.search(query, k=5)[0]
    index.close()
print(found.tolist())
"""


class TestEdge(Conformance):
    @classmethod
    @contextmanager
    def opened(cls, ids: NDArray[np.uint64], vectors: Any, tmp: Any) -> Iterator[VectorIndex]:
        write_shard(tmp / "shard", ids, vectors)
        index = EdgeIndex.open(tmp / "shard")
        yield index
        index.close()


def _contents(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_several_processes_open_one_published_shard_and_change_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    ids, vectors = point_ids(rng, 2_500), clustered(rng, 2_500)
    write_shard(tmp_path / "shard", ids, vectors)
    before = _contents(tmp_path / "shard")
    np.save(tmp_path / "query.npy", vectors[3])
    mine = EdgeIndex.open(tmp_path / "shard")
    command = [sys.executable, "-c", _CHILD, str(tmp_path / "shard"), str(tmp_path / "query.npy")]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    expected = f"{mine.search(vectors[3], k=5)[0].tolist()}\n"
    assert [child.communicate(timeout=60)[0] for child in children] == [expected] * 3
    mine.close()
    assert _contents(tmp_path / "shard") == before


def test_a_row_of_zeros_and_a_second_writing_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    vectors = clustered(rng, 4)
    with pytest.raises(ValueError, match="zeros"):
        write_shard(tmp_path / "zero", point_ids(rng, 4), np.zeros_like(vectors))
    write_shard(tmp_path / "shard", point_ids(rng, 4), vectors)
    with pytest.raises(ValueError, match="never written in place"):
        write_shard(tmp_path / "shard", point_ids(rng, 4), vectors)


def test_no_shard_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="animusic models build"):
        EdgeIndex.open(tmp_path / "absent")
