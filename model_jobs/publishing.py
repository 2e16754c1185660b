"""Publishes vectors as a directory, atomically; and removes old versions.

Everything is written under a name that begins with a dot, checked, synced to the disk, and then renamed: a directory
that has its name is complete. Who writes for an arm holds the arm's lock, and a lock ends with its process: a dotted
directory of an arm whose lock is free was left behind by a job that died.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from contracts.models import LiveModel
from model_jobs.builds import Meter
from model_jobs.checks import check_index
from model_jobs.model import Report, Vectors
from services.common.vectors.edge import EdgeIndex, write_shard
from services.common.vectors.published import SHARD, points_of, published_models, write_files

_BUILDING: Final = ".building-"
_LOCK: Final = ".lock-"
# The live version, and the one before it: for going back, and for processes that have not switched yet.
KEPT_VERSIONS: Final = 2


class ArmBusyError(RuntimeError):
    """Another job writes for the arm now."""


@contextlib.contextmanager
def arm_lock(vectors_dir: Path, arm: str) -> Iterator[None]:
    """The lock to write and remove directories of an arm, across processes; it is reentrant within a process.

    Raises ArmBusyError at once when another process has it.
    """
    vectors_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(vectors_dir / f"{_LOCK}{arm}", is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as taken:
        raise ArmBusyError(f"another job builds {arm} in {vectors_dir} now; try again when it is done") from taken
    try:
        yield
    finally:
        lock.release()


def publish(
    vectors_dir: Path, record: LiveModel, vectors: Vectors, report: Report, meter: Meter | None = None
) -> float:
    """Write, check and name the directory of `record`; returns the recall@10 that the index was seen to have.

    Raises checks.CheckFailedError (nothing is left behind) and ArmBusyError. Where the directory is there already, it
    stays as it is.
    """
    meter = meter or Meter()
    with arm_lock(vectors_dir, record.arm):
        building = vectors_dir / f"{_BUILDING}{record.collection}-{os.getpid()}"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        try:
            recall = _fill(building, record, vectors, report, meter)
            report("publishing", 0, 1)
            with meter.stage("publish"):
                _sync_tree(building)
                _rename(building, vectors_dir / record.collection)
                _sync(vectors_dir)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        return recall


def _fill(building: Path, record: LiveModel, vectors: Vectors, report: Report, meter: Meter) -> float:
    points = points_of(vectors.song_ids)
    with meter.stage("index"):
        write_files(building, record, vectors.song_ids, vectors.raw)
        report("indexing", 0, record.songs)
        write_shard(building / SHARD, points, vectors.raw)
    report("checking the index", 0, record.songs)
    with meter.stage("checks"):
        index = EdgeIndex.open(building / SHARD)
        try:
            return check_index(index, points, vectors)
        finally:
            index.close()


@dataclass(frozen=True)
class Removed:
    """A directory that is gone, or would be. `why`: `left behind by a job that died`, or `old`."""

    name: str
    why: str
    size_bytes: int


def kept_versions(found: Sequence[LiveModel], live: str | None, before: str | None, keep: int) -> list[str]:
    """Of an arm's published versions (newest first) the `keep` that stay: live, the one before it, then the newest."""
    there = [record.version for record in found]
    order = dict.fromkeys([*(version for version in (live, before) if version in there), *there])
    return [version for version in order if version][: max(keep, 1)]


def remove_old(vectors_dir: Path, arm: str, keep: Sequence[str], *, dry_run: bool = False) -> list[Removed]:
    """Remove an arm's published versions but those to keep, and what its dead jobs left behind.

    A process that has files open can read them until it closes them. Raises ArmBusyError while a job writes for it.
    """
    with arm_lock(vectors_dir, arm):
        gone = [(path, "left behind by a job that died") for path in sorted(vectors_dir.glob(f"{_BUILDING}{arm}-*"))]
        old = [r.collection for r in published_models(vectors_dir) if r.arm == arm and r.version not in keep]
        gone += [(vectors_dir / name, "old") for name in old]
        removed = [Removed(path.name, why, _size(path)) for path, why in gone]
        for path, _ in () if dry_run else gone:
            _remove(path, arm)
        return removed


def _size(directory: Path) -> int:
    """The bytes that removal frees: the index files are sparse."""
    stats = [path.stat() for path in directory.rglob("*") if path.is_file()]
    return sum(stat.st_blocks * 512 if hasattr(stat, "st_blocks") else stat.st_size for stat in stats)


def _remove(path: Path, arm: str) -> None:
    """Rename first: a half removed directory must not look like a published one."""
    doomed = path if path.name.startswith(".") else path.with_name(f"{_BUILDING}{arm}-gone-{path.name}-{os.getpid()}")
    if doomed != path:
        path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _rename(building: Path, name: Path) -> None:
    try:
        building.rename(name)
    except OSError:
        # The same version exists: it has the same content.
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
