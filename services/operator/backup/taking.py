"""`animusic backup`: copy the records that the backup lacks.

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
from typing import Final, NamedTuple, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from filelock import FileLock, Timeout

from contracts.topics import DAY_MS
from services.common.process.clock import now_ms
from services.common.settings import KafkaSettings
from services.operator.backup.files import PARTIAL, FileWriter
from services.operator.backup.manifest import Manifest, PartitionEntry, TopicEntry, read_manifest, write_manifest
from services.operator.readers.log import LogTopic, consumer, describe

# Of keys and values, before compression: at most this much is copied again after a kill.
FILE_BYTES: Final = 64 << 20
_FETCH_RECORDS: Final = 5_000
_RECORD_BYTES: Final = 500
_STALLED_SECONDS: Final = 60.0
_NEW_TOPIC_SECONDS: Final = 3.0


class Bar(Protocol):
    """A progress bar: (title, steps, unit of a step). The block gets a function that sets the steps done."""

    def __call__(self, what: str, total: int, unit: str, /) -> AbstractContextManager[Callable[[int], None]]: ...


class OffsetRange(NamedTuple):
    """What is to be copied of a partition: offsets from `start` to before `upto`."""

    tp: TopicPartition
    start: int
    upto: int


@dataclass
class BackupResult:
    """The result of a backup. `lost`: sentences; `recopied`: names of topics; both for people."""

    manifest: Manifest
    copied: int = 0
    seconds: float = 0.0
    lost: list[str] = field(default_factory=list)
    recopied: list[str] = field(default_factory=list)


async def backup(
    settings: KafkaSettings, directory: Path, topics: Sequence[str], show: Bar, *, file_bytes: int = FILE_BYTES
) -> BackupResult:
    """Update the backup in `directory`, which is created if needed, up to the current ends of the log.

    Raises LookupError for a topic that the log has not, ValueError when the directory holds a backup of another log,
    RuntimeError while another backup writes to it, ConnectionError when the log does not answer.
    """
    began = time.monotonic()
    with _exclusive(directory):
        now = now_ms()
        manifest = read_manifest(directory) or Manifest(created_ms=now, updated_ms=now)
        log = await describe(settings, topics, _NEW_TOPIC_SECONDS)
        missing = sorted(set(topics) - log.keys())
        if missing:
            raise LookupError(f"the log has no topic {', '.join(missing)}; `animusic topics` lists the topics")
        result = BackupResult(manifest)
        _renew_stale(manifest, log, now, result)
        ranges = _update_topics(manifest, log, result)
        write_manifest(directory, manifest)
        if ranges:
            result.copied = await _copy_all(settings, ranges, directory, manifest, show, file_bytes=file_bytes)
        _complete(directory, manifest, list(log), now)
    result.seconds = time.monotonic() - began
    return result


@contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(directory / ".lock", timeout=0):
            for partial in directory.rglob(f"*{PARTIAL}"):
                partial.unlink()
            yield
    except Timeout:
        raise RuntimeError(f"another backup is writing to {directory}: let it end, or name another directory") from None


# ---- what is to be done ---------------------------------------------------------------------------------------------


def _renew_stale(manifest: Manifest, log: dict[str, LogTopic], now: int, result: BackupResult) -> None:
    """Copy a compacted topic again when its tombstones may have expired since: else deleted keys would return."""
    for name, topic in log.items():
        copy = manifest.topics.get(name)
        if copy is None or copy.topic_id != topic.topic_id or "compact" not in topic.config.get("cleanup.policy", ""):
            continue
        stale = now - copy.complete_ms > int(topic.config.get("delete.retention.ms", DAY_MS))
        if name in manifest.renewing or (copy.complete_ms and stale):
            manifest.renewing.setdefault(name, TopicEntry(topic_id=topic.topic_id, config={}, partitions={}))
            result.recopied.append(name)


def _complete(directory: Path, manifest: Manifest, names: Iterable[str], now: int) -> None:
    """Replace the old copies by the complete new ones."""
    old = [file for name in names if name in manifest.renewing for file in manifest.topics[name].files()]
    for name in names:
        manifest.topics[name] = manifest.copy_of(name)
        manifest.renewing.pop(name, None)
        manifest.topics[name].complete_ms = now
    manifest.updated_ms = now
    write_manifest(directory, manifest)
    for file in old:
        (directory / file.path).unlink(missing_ok=True)


def _update_topics(manifest: Manifest, log: dict[str, LogTopic], result: BackupResult) -> list[OffsetRange]:
    """Update the manifest's topics from the log; returns the offset ranges to copy. Raises ValueError: see `backup`."""
    ranges = []
    for name, topic in log.items():
        manifest.topics.setdefault(name, TopicEntry(topic_id=topic.topic_id, config={}, partitions={}))
        copy = manifest.copy_of(name)
        if copy.topic_id != topic.topic_id:
            raise ValueError(
                f"{name} was deleted and created again since the last backup to this directory: keep this backup, and "
                "take one of the new topic to another directory"
            )
        copy.config = topic.config
        for number, end in topic.ends.items():
            start = topic.starts[number]
            entry = copy.partitions.setdefault(number, PartitionEntry(start=start, upto=start))
            if start > entry.upto:
                entry.lost.append((entry.upto, start))
                result.lost.append(f"{name}/{number}: offsets {entry.upto} to {start - 1} left the log uncopied")
                entry.upto = start
            if end < entry.upto:
                raise ValueError(
                    f"{name}/{number} ends at {end}, before the {entry.upto} of this backup: the log lost records. "
                    "Keep this backup; `animusic restore` writes it into an empty log"
                )
            if end > entry.upto:
                ranges.append(OffsetRange(TopicPartition(name, number), entry.upto, end))
    return ranges


# ---- copying --------------------------------------------------------------------------------------------------------


async def _copy_all(
    settings: KafkaSettings,
    ranges: list[OffsetRange],
    directory: Path,
    manifest: Manifest,
    show: Bar,
    *,
    file_bytes: int,
) -> int:
    # A fetch that waits at the end of one partition delays the next one.
    options = {"auto_offset_reset": "none", "max_partition_fetch_bytes": 4 << 20, "fetch_max_wait_ms": 20}
    copied = done = 0
    async with consumer(settings, **options) as kafka:
        with show("copy the log", sum(upto - start for _, start, upto in ranges), "records") as advance_to:
            for span in ranges:
                async for records, position in _copy(kafka, span, directory, manifest, file_bytes):
                    copied += records
                    advance_to(done + position - span.start)
                done += span.upto - span.start
    return copied


async def _copy(
    kafka: AIOKafkaConsumer, span: OffsetRange, directory: Path, manifest: Manifest, file_bytes: int
) -> AsyncIterator[tuple[int, int]]:
    """Copy a stretch into files of bounded size; yields (records, offset reached) after each fetch."""
    tp, start, upto = span
    kafka.assign([tp])
    kafka.seek(tp, start)
    entry = manifest.copy_of(tp.topic).partitions[tp.partition]
    most = max(1, min(_FETCH_RECORDS, file_bytes // _RECORD_BYTES))
    writer: FileWriter | None = None
    position, moved = start, time.monotonic()
    try:
        while position < upto:
            found = await kafka.getmany(tp, timeout_ms=500, max_records=most)
            records = [record for record in found.get(tp, ()) if record.offset < upto]
            reached = min(await kafka.position(tp), upto)
            if reached > position:
                position, moved = reached, time.monotonic()
            elif time.monotonic() - moved > _STALLED_SECONDS:
                raise ConnectionError(
                    f"Kafka returned no record of {tp.topic}/{tp.partition} for {_STALLED_SECONDS:.0f} s"
                )
            if records:
                writer = writer or FileWriter(directory, _free_path(manifest, tp, entry.upto), entry.upto)
                await asyncio.to_thread(writer.add, records)
            if position == upto or (writer is not None and writer.bytes >= file_bytes):
                if writer is not None:
                    entry.files.append(await asyncio.to_thread(writer.close, position))
                    writer = None
                entry.upto = position
                await asyncio.to_thread(write_manifest, directory, manifest)
            yield len(records), position
    finally:
        if writer is not None:
            writer.abandon()


def _free_path(manifest: Manifest, tp: TopicPartition, first: int) -> str:
    """Where a file that begins at `first` goes; an older copy of the same records keeps its name meanwhile."""
    stem, result = f"{tp.topic}/{tp.partition}/{first:020d}", {file.path for file in manifest.files()}
    return next(path for n in count() if (path := f"{stem}.{n}.parquet" if n else f"{stem}.parquet") not in result)
