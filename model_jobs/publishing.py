"""From vectors to a published directory, whole or not at all.

Everything is written under a name that begins with a dot, checked, brought to the disk, and then renamed: a directory
that has its name is complete. A job that dies leaves a dotted directory behind, which the next job removes.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

from contracts.models import LiveModel
from model_jobs.checks import check_index
from model_jobs.model import Report, Vectors
from services.common.vectors.edge import EdgeIndex, write_shard
from services.common.vectors.published import SHARD, points_of, published_models, write_files

_BUILDING: Final = ".building-"
# The live version, and the one before it for processes that have not switched yet.
KEPT_VERSIONS: Final = 2


def publish(vectors_dir: Path, record: LiveModel, vectors: Vectors, report: Report) -> float:
    """Write, check and name the directory of `record`; returns the recall@10 that the index was seen to have.

    Raises checks.CheckFailedError (nothing is left behind). Where the directory is there already, it stays as it is.
    """
    vectors_dir.mkdir(parents=True, exist_ok=True)
    building = vectors_dir / f"{_BUILDING}{record.collection}-{os.getpid()}"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        recall = _fill(building, record, vectors, report)
        report("publishing", 0, 1)
        _sync_tree(building)
        _rename(building, vectors_dir / record.collection)
        _sync(vectors_dir)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return recall


def _fill(building: Path, record: LiveModel, vectors: Vectors, report: Report) -> float:
    write_files(building, record, vectors.song_ids, vectors.raw)
    points = points_of(vectors.song_ids)
    report("indexing", 0, record.songs)
    write_shard(building / SHARD, points, vectors.raw)
    report("checking the index", 0, record.songs)
    index = EdgeIndex.open(building / SHARD)
    try:
        return check_index(index, points, vectors)
    finally:
        index.close()


def remove_leftovers(vectors_dir: Path, live: Sequence[LiveModel]) -> list[str]:
    """Remove what jobs that died left behind, and old versions; returns the names that are gone.

    Kept are every live version and, of each arm, the newest `KEPT_VERSIONS`. A process that has files open can
    read them until it closes them.
    """
    if not vectors_dir.is_dir():
        return []
    dead = [path for path in vectors_dir.glob(f"{_BUILDING}*") if not psutil.pid_exists(_pid_of(path))]
    keep = {record.collection for record in live}
    by_arm: dict[str, list[str]] = {}
    for record in published_models(vectors_dir):
        by_arm.setdefault(record.arm, []).append(record.collection)
    old = [vectors_dir / name for names in by_arm.values() for name in names[KEPT_VERSIONS:] if name not in keep]
    for path in [*dead, *old]:
        _remove(path)
    return sorted(path.name for path in [*dead, *old])


def _remove(path: Path) -> None:
    """Take the name away first: a half removed directory must not look like a published one."""
    doomed = path if path.name.startswith(".") else path.with_name(f"{_BUILDING}{path.name}-{os.getpid()}")
    if doomed != path:
        path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _pid_of(building: Path) -> int:
    pid = building.name.rpartition("-")[2]
    return int(pid) if pid.isdigit() else -1


def _rename(building: Path, name: Path) -> None:
    try:
        building.rename(name)
    except OSError:
        # Another job published the same version meanwhile: the same content, so theirs is as good.
        if not name.is_dir():
            raise


def _sync_tree(directory: Path) -> None:
    for path in directory.rglob("*"):
        _sync(path)
    _sync(directory)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
