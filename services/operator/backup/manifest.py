"""The manifest of a backup, `manifest.json`: replaced atomically after every file, so it never names half a file.

DIR/manifest.json
DIR/<topic>/<partition>/<first offset>.parquet
"""

import os
from collections.abc import Iterator
from hashlib import file_digest
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

MANIFEST: Final = "manifest.json"


class FileEntry(BaseModel):
    """One complete file: the records of a partition from `first` to before `upto` (offsets), as many as there were."""

    model_config = ConfigDict(extra="forbid")

    path: str
    first: int
    upto: int
    records: int
    bytes: int
    sha256: str


class PartitionEntry(BaseModel):
    """One partition, as far as it was copied.

    Attributes:
        start: where the log began at the first backup.
        upto: offset of the next record to copy.
        lost: stretches [from, to) that the log had dropped between two backups, before they were copied.
    """

    model_config = ConfigDict(extra="forbid")

    start: int
    upto: int
    files: list[FileEntry] = []
    lost: list[tuple[int, int]] = []

    @property
    def records(self) -> int:
        """Records in the files."""
        return sum(file.records for file in self.files)

    @property
    def moved(self) -> int:
        """The number of offsets without a record: a restore lowers the last record's offset by it."""
        return self.upto - self.records


class TopicEntry(BaseModel):
    """One topic. `config` is what was set for the topic itself; `complete_ms` when its last whole backup began."""

    model_config = ConfigDict(extra="forbid")

    topic_id: str
    config: dict[str, str]
    partitions: dict[int, PartitionEntry]
    complete_ms: int = 0

    @property
    def records(self) -> int:
        """Records of all partitions."""
        return sum(partition.records for partition in self.partitions.values())

    def files(self) -> Iterator[FileEntry]:
        """Every file, by partition and offset."""
        for number in sorted(self.partitions):
            yield from self.partitions[number].files


class Manifest(BaseModel):
    """The whole backup. Times are milliseconds since the epoch.

    `renewing`: topics that are being copied from their start again; until that is done, `topics` has the older copy.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    created_ms: int
    updated_ms: int
    topics: dict[str, TopicEntry] = {}
    renewing: dict[str, TopicEntry] = {}

    def copy_of(self, name: str) -> TopicEntry:
        """The copy of a topic that is being written."""
        return self.renewing.get(name) or self.topics[name]

    def files(self) -> list[FileEntry]:
        """Every file of every topic."""
        return [file for name in sorted(self.topics) for file in self.topics[name].files()]

    @property
    def records(self) -> int:
        """Records of all topics."""
        return sum(topic.records for topic in self.topics.values())

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files())


def read_manifest(directory: Path) -> Manifest | None:
    """The backup in a directory, None where there is none. Raises ValueError when the manifest cannot be read."""
    path = directory / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ValueError(f"{path} cannot be read by this version ({error.errors()[0]['msg']})") from error
    _check(path, manifest)
    return manifest


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Replace the manifest in one step that survives a power cut."""
    write_model(directory / MANIFEST, manifest)


def write_model(path: Path, model: BaseModel) -> None:
    """Replace a file of JSON in one step that survives a power cut."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(model.model_dump_json(indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make renames in a directory durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest_of(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _check(path: Path, manifest: Manifest) -> None:
    for name, topic in manifest.topics.items():
        for number, partition in topic.partitions.items():
            overlaps = any(a.upto > b.first for a, b in pairwise(partition.files))
            if overlaps or any(".." in file.path or file.path.startswith("/") for file in partition.files):
                raise ValueError(f"{path} contradicts itself in {name}/{number}: take a new backup")
