"""`animusic backup`: copy what the log has and the backup has not.

The end offsets of all topics are asked once, at the start; what is appended later belongs to the next backup. Every
finished file is noted in the manifest, so a backup that was killed goes on with the file that it was writing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from filelock import FileLock, Timeout

from contracts.topics import DAY_MS
from services.common.clock import now_ms
from services.common.settings import KafkaSettings
from services.operator.backup.files import PARTIAL, FileWriter
from services.operator.backup.manifest import (
    Manifest,
    PartitionEntry,
    TopicEntry,
    read_manifest,
    write_manifest,
)
from services.operator.backup.source import LogTopic, describe, reader

# Of keys and values, before compression: the longest that is written again after a kill.
FILE_BYTES: Final = 64 << 20
_GROUP_BYTES = 8 << 20
_FETCH_RECORDS = 5_000
_RECORD_BYTES = 500
_STALLED_SECONDS = 60.0
_NEW_TOPIC_SECONDS = 3.0


class Bar(Protocol):
    """Shows a job: what it is, how many steps it has, what a step is called; the block gets a setter of steps done."""

    def __call__(self, what: str, total: int, unit: str, /) -> AbstractContextManager[Callable[[int], None]]: ...


@dataclass(frozen=True)
class Stretch:
    """What is to be copied of a partition: offsets from `start` to before `upto`."""

    topic: str
    partition: int
    start: int
    upto: int


@dataclass
class Taken:
    """What a backup did. `lost` and `anew` are for people: sentences, and names of topics."""

    manifest: Manifest
    copied: int = 0
    seconds: float = 0.0
    lost: list[str] = field(default_factory=list)
    anew: list[str] = field(default_factory=list)


async def backup(
    settings: KafkaSettings, directory: Path, topics: Sequence[str], show: Bar, *, file_bytes: int = FILE_BYTES
) -> Taken:
    """Bring the backup in `directory`, made if need be, up to the log's ends as of now.

    Raises LookupError for a topic that the log has not, ValueError when the directory holds a backup of another log,
    RuntimeError while another backup writes to it, ConnectionError when the log does not answer.
    """
    began = time.monotonic()
    with _alone(directory):
        now = now_ms()
        manifest = read_manifest(directory) or Manifest(created_ms=now, updated_ms=now)
        log = await describe(settings, topics, _NEW_TOPIC_SECONDS)
        missing = sorted(set(topics) - log.keys())
        if missing:
            raise LookupError(f"the log has no topic {', '.join(missing)}; `animusic topics` lists ours")
        taken = Taken(manifest)
        _renew_stale(manifest, log, now, taken)
        stretches = _note_topics(manifest, log, taken)
        write_manifest(directory, manifest)
        taken.copied = await _copy_all(settings, _Target(directory, manifest, file_bytes), stretches, show)
        _complete(directory, manifest, list(log), now)
    taken.seconds = time.monotonic() - began
    return taken


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeError(f"another backup is writing to {directory}: let it end, or name another directory") from None
    try:
        for partial in directory.rglob(f"*{PARTIAL}"):
            partial.unlink()
        yield
    finally:
        lock.release()


# ---- what is to be done ---------------------------------------------------------------------------------------------


def _renew_stale(manifest: Manifest, log: dict[str, LogTopic], now: int, taken: Taken) -> None:
    """Take a compacted topic anew when its tombstones may have come and gone since: what they removed would return."""
    for name, topic in log.items():
        held = manifest.topics.get(name)
        if held is None or held.topic_id != topic.topic_id or "compact" not in topic.config.get("cleanup.policy", ""):
            continue
        stale = now - held.complete_ms > int(topic.config.get("delete.retention.ms", DAY_MS))
        if name in manifest.renewing or (held.complete_ms and stale):
            manifest.renewing.setdefault(name, TopicEntry(topic_id=topic.topic_id, config={}, partitions={}))
            taken.anew.append(name)


def _complete(directory: Path, manifest: Manifest, names: Iterable[str], now: int) -> None:
    """Everything asked for is there: the new copies take the place of the old ones."""
    old = [file for name in names if name in manifest.renewing for file in manifest.topics[name].files()]
    for name in names:
        manifest.topics[name] = manifest.copy_of(name)
        manifest.renewing.pop(name, None)
        manifest.topics[name].complete_ms = now
    manifest.updated_ms = now
    write_manifest(directory, manifest)
    for file in old:
        (directory / file.path).unlink(missing_ok=True)


def _note_topics(manifest: Manifest, log: dict[str, LogTopic], taken: Taken) -> list[Stretch]:
    """Bring the manifest's topics up to the log's, and say what is missing. Raises ValueError: see `backup`."""
    stretches = []
    for name, topic in log.items():
        manifest.topics.setdefault(name, TopicEntry(topic_id=topic.topic_id, config={}, partitions={}))
        held = manifest.copy_of(name)
        if held.topic_id != topic.topic_id:
            raise ValueError(
                f"{name} was deleted and made again since the last backup to this directory: keep this backup, and "
                "take one of the new topic to another directory"
            )
        held.config = topic.config
        for number, end in topic.ends.items():
            start = topic.starts[number]
            entry = held.partitions.setdefault(number, PartitionEntry(start=start, upto=start))
            if start > entry.upto:
                entry.lost.append((entry.upto, start))
                taken.lost.append(f"{name}/{number}: offsets {entry.upto} to {start - 1} left the log uncopied")
                entry.upto = start
            stretches += _stretch(name, number, entry, end)
    return stretches


def _stretch(name: str, number: int, entry: PartitionEntry, end: int) -> list[Stretch]:
    if end < entry.upto:
        raise ValueError(
            f"{name}/{number} ends at {end}, before the {entry.upto} of this backup: the log lost records. Keep this "
            "backup; `animusic restore` of it into an empty log brings them back"
        )
    return [Stretch(name, number, entry.upto, end)] if end > entry.upto else []


# ---- copying --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Target:
    directory: Path
    manifest: Manifest
    file_bytes: int

    def free_path(self, stretch: Stretch, first: int) -> str:
        """Where a file that begins at `first` goes; an older copy of the same records keeps its name meanwhile."""
        stem = f"{stretch.topic}/{stretch.partition}/{first:020d}"
        taken = {file.path for file in self.manifest.files()}
        return next(path for n in count() if (path := f"{stem}.{n}.parquet" if n else f"{stem}.parquet") not in taken)

    def entry(self, stretch: Stretch) -> PartitionEntry:
        return self.manifest.copy_of(stretch.topic).partitions[stretch.partition]


async def _copy_all(settings: KafkaSettings, target: _Target, stretches: list[Stretch], show: Bar) -> int:
    if not stretches:
        return 0
    copied = done = 0
    consumer = reader(settings)
    try:
        await consumer.start()
        with show("copy the log", sum(s.upto - s.start for s in stretches), "records") as advance_to:
            for stretch in stretches:
                async for records, position in _read(consumer, stretch, target):
                    copied += records
                    advance_to(done + position - stretch.start)
                done += stretch.upto - stretch.start
                advance_to(done)
    finally:
        await consumer.stop()
    return copied


async def _read(consumer: AIOKafkaConsumer, stretch: Stretch, target: _Target) -> AsyncIterator[tuple[int, int]]:
    """Copy a stretch; yields (records of a row group, offset reached)."""
    tp = TopicPartition(stretch.topic, stretch.partition)
    consumer.assign([tp])
    consumer.seek(tp, stretch.start)
    copy = _Copy(stretch, target)
    try:
        position, moved = stretch.start, time.monotonic()
        while position < stretch.upto:
            found = await consumer.getmany(tp, timeout_ms=500, max_records=copy.most_records)
            records = [record for record in found.get(tp, ()) if record.offset < stretch.upto]
            reached = min(await consumer.position(tp), stretch.upto)
            if reached > position:
                position, moved = reached, time.monotonic()
            elif time.monotonic() - moved > _STALLED_SECONDS:
                raise ConnectionError(f"nothing came of {tp.topic}/{tp.partition} for {_STALLED_SECONDS:.0f} s")
            yield await copy.take(records, position), position
        await copy.finish(stretch.upto)
    finally:
        copy.abandon()


class _Copy:
    """One stretch on its way into files of bounded size."""

    def __init__(self, stretch: Stretch, target: _Target) -> None:
        self._stretch = stretch
        self._target = target
        self._first = stretch.start
        self._writer: FileWriter | None = None
        self._group: list[Any] = []
        self._group_bytes = 0
        self._file_bytes = 0

    @property
    def most_records(self) -> int:
        """How many to fetch at once, so that files stay near their size."""
        return max(1, min(_FETCH_RECORDS, self._target.file_bytes // _RECORD_BYTES))

    async def take(self, records: list[Any], upto: int) -> int:
        """Hold records until a row group, or a file, is full; returns how many came."""
        self._group += records
        self._group_bytes += sum(len(r.key or b"") + len(r.value or b"") + 64 for r in records)
        if self._group_bytes >= min(_GROUP_BYTES, self._target.file_bytes):
            await self._write_group()
        if self._file_bytes >= self._target.file_bytes:
            await self.finish(upto)
        return len(records)

    async def finish(self, upto: int) -> None:
        """Close the file under way, if there is one, and note how far the backup has come."""
        await self._write_group()
        entry = self._target.entry(self._stretch)
        if self._writer is not None:
            entry.files.append(await asyncio.to_thread(self._writer.close, upto))
            self._writer = None
        entry.upto = self._first = upto
        self._file_bytes = 0
        await asyncio.to_thread(write_manifest, self._target.directory, self._target.manifest)

    def abandon(self) -> None:
        """Leave no half file."""
        if self._writer is not None:
            self._writer.abandon()

    async def _write_group(self) -> None:
        if not self._group:
            return
        if self._writer is None:
            path = self._target.free_path(self._stretch, self._first)
            self._writer = await asyncio.to_thread(FileWriter, self._target.directory, path, self._first)
        await asyncio.to_thread(self._writer.add, self._group)
        self._file_bytes += self._group_bytes
        self._group, self._group_bytes = [], 0
