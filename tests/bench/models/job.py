"""One step of a build in a process of its own, so that its CPU and its memory are nobody else's.

`python -m tests.bench.models.job RESULT.json vectors ARM SONGS FILE [--preset P] [--withhold FIELD]` builds vectors of
a made-up catalogue and keeps them in FILE; `… index FILE DIRECTORY` makes a shard of them and asks it once.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import scipy.sparse

from collectors.synthetic import synthetic_songs
from contracts.catalogue import point_id_of
from model_jobs.evaluate.withhold import withhold
from model_jobs.model import ModelBuilder, Vectors
from model_jobs.node2vec import node2vec_of
from model_jobs.random_vectors import DIMENSIONS, RandomVectors
from model_jobs.tfidf import Tfidf
from services.common.settings import Node2VecSettings
from services.common.vectors.edge import EdgeIndex, sparse_row, write_shard

Done = TypeVar("Done")


def main() -> None:
    """The command: does the step, writes what it saw as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.models.job", description=__doc__)
    parser.add_argument("result", type=Path)
    steps = parser.add_subparsers(required=True)
    vectors = steps.add_parser("vectors")
    vectors.add_argument("arm")
    vectors.add_argument("songs", type=int)
    vectors.add_argument("file", type=Path)
    vectors.add_argument("--preset", default="default")
    vectors.add_argument("--withhold", default=None)
    vectors.set_defaults(step=_vectors)
    index = steps.add_parser("index")
    index.add_argument("file", type=Path)
    index.add_argument("directory", type=Path)
    index.set_defaults(step=_index)
    asked = parser.parse_args()
    asked.result.write_text(json.dumps(asked.step(asked)))


def _vectors(asked: argparse.Namespace) -> Mapping[str, float]:
    songs = withhold(synthetic_songs(asked.songs), asked.withhold)
    model = _model(asked.arm, asked.preset)
    built, seconds, cpu = timed(lambda: model.build(songs, lambda *_: None))
    save(asked.file, built)
    return {"seconds": seconds, "cpu_seconds": cpu, "rows": len(built.song_ids), "dimension": built.raw.shape[1]}


def _index(asked: argparse.Namespace) -> Mapping[str, float]:
    vectors = load(asked.file)
    points = np.array([point_id_of(song_id) for song_id in vectors.song_ids], dtype=np.uint64)

    def ready() -> None:
        write_shard(asked.directory, points, vectors.raw)
        index = EdgeIndex.open(asked.directory)
        query = vectors.raw[0] if vectors.dense else sparse_row(vectors.raw, 0)
        found, _ = index.search(query, k=10)
        assert points[0] in found
        index.close()

    _, seconds, cpu = timed(ready)
    return {"seconds": seconds, "cpu_seconds": cpu}


def _model(arm: str, preset: str) -> ModelBuilder:
    if arm in DIMENSIONS:
        return RandomVectors(arm)
    return Tfidf() if arm == Tfidf.arm else node2vec_of(Node2VecSettings(), {"preset": preset})


def timed(step: Callable[[], Done]) -> tuple[Done, float, float]:
    """What a step returns, the seconds that it took, and the CPU seconds of this process meanwhile."""
    began, cpu = time.perf_counter(), time.process_time()
    done = step()
    return done, time.perf_counter() - began, time.process_time() - cpu


def save(file: Path, vectors: Vectors) -> None:
    """Vectors, dense or sparse, as one file."""
    parts: dict[str, Any] = {"song_ids": np.array(vectors.song_ids)}
    if vectors.dense:
        parts["raw"] = vectors.raw
    else:
        raw = scipy.sparse.csr_array(vectors.raw)
        parts |= {"data": raw.data, "indices": raw.indices, "indptr": raw.indptr, "shape": raw.shape}
    np.savez(file, **parts)


def load(file: Path) -> Vectors:
    """What `save` kept."""
    with np.load(file) as parts:
        song_ids = parts["song_ids"].tolist()
        if "raw" in parts:
            return Vectors(song_ids, parts["raw"], {})
        arrays = parts["data"], parts["indices"], parts["indptr"]
        return Vectors(song_ids, scipy.sparse.csr_array(arrays, tuple(parts["shape"].tolist())), {})


if __name__ == "__main__":
    main()
