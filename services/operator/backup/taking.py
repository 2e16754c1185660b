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
from typing import Final, NamedTuple, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from filelock import FileLock, Timeout

from contracts.topics import DAY_MS
from services.common.process.clock import now_ms
from services.common.settings import KafkaSettings
from services.operator.backup.files import PARTIAL, FileWriter
from services.operator.backup.manifest import Manifest, PartitionEntry, TopicEntry, read_manifest, write_manifest
from services.operator.backup.source import LogTopic, describe
from services.operator.readers.log import consumer

# Of keys and values, before compression: the longest that is written again after a kill.
FILE_BYTES: Final = 64 << 20
_FETCH_RECORDS: Final = 5_000
_RECORD_BYTES: Final = 500
_STALLED_SECONDS: Final = 60.0
_NEW_TOPIC_SECONDS: Final = 3.0


class Bar(Protocol):
    """Shows a job: what it is, how many steps it has, what a step is called; the block gets a setter of steps done."""

    def __call__(self, what: str, total: int, unit: str, /) -> AbstractContextManager[Callable[[int], None]]: ...


class Stretch(NamedTuple):
    """What is to be copied of a partition: offsets from `start` to before `upto`."""

    tp: TopicPartition
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
        if stretches:
            taken.copied = await _copy_all(settings, stretches, directory, manifest, show, file_bytes=file_bytes)
        _complete(directory, manifest, list(log), now)
    taken.seconds = time.monotonic() - began
    return taken


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(directory / ".lock", timeout=0):
            for partial in directory.rglob(f"*{PARTIAL}"):
                partial.unlink()
            yield
    except Timeout:
        raise RuntimeError(f"another backup is writing to {directory}: let it end, or name another directory") from None


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
            if end < entry.upto:
                raise ValueError(
                    f"{name}/{number} ends at {end}, before the {entry.upto} of this backup: the log lost records. "
                    "Keep this backup; `animusic restore` of it into an empty log brings them back"
                )
            if end > entry.upto:
                stretches.append(Stretch(TopicPartition(name, number), entry.upto, end))
    return stretches


# ---- copying --------------------------------------------------------------------------------------------------------


async def _copy_all(
    settings: KafkaSettings,
    stretches: list[Stretch],
    directory: Path,
    manifest: Manifest,
    show: Bar,
    *,
    file_bytes: int,
) -> int:
    # A fetch that waits at the end of one partition would hold up the next one.
    options = {"auto_offset_reset": "none", "max_partition_fetch_bytes": 4 << 20, "fetch_max_wait_ms": 20}
    copied = done = 0
    async with consumer(settings, **options) as kafka:
        with show("copy the log", sum(upto - start for _, start, upto in stretches), "records") as advance_to:
            for stretch in stretches:
                async for records, position in _copy(kafka, stretch, directory, manifest, file_bytes):
                    copied += records
                    advance_to(done + position - stretch.start)
                done += stretch.upto - stretch.start
    return copied


async def _copy(
    kafka: AIOKafkaConsumer, stretch: Stretch, directory: Path, manifest: Manifest, file_bytes: int
) -> AsyncIterator[tuple[int, int]]:
    """Copy a stretch into files of bounded size; yields (records, offset reached) after each fetch."""
    tp, start, upto = stretch
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
                raise ConnectionError(f"nothing came of {tp.topic}/{tp.partition} for {_STALLED_SECONDS:.0f} s")
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
    stem, taken = f"{tp.topic}/{tp.partition}/{first:020d}", {file.path for file in manifest.files()}
    return next(path for n in count() if (path := f"{stem}.{n}.parquet" if n else f"{stem}.parquet") not in taken)
