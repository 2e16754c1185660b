"""`animusic restore`: write the files into an empty log, record by record, with their keys, headers and times.

Every file is checked before anything is written. A restored partition has the same records in the same order, from
offset 0 on; where the backup has holes (compaction, expiry) later records get lower offsets. Marks and receipts carry
the topic's id, and a restored topic has another one: stores read it from its start (decision 17).
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import for_code

from services.common.settings import KafkaSettings
from services.operator.backup.files import Row, damage, read_rows
from services.operator.backup.manifest import MANIFEST, Manifest, PartitionEntry, read_manifest
from services.operator.backup.taking import Bar
from services.operator.backup.writing import Writer
from services.operator.readers.log import LogTopic, admin, describe, records

_AT_ONCE: Final = 4
_TOPIC_SECONDS: Final = 15.0


@dataclass
class RestoreResult:
    """What a restore did. `moved`: topic/partition -> by how much its last offsets are lower than they were."""

    manifest: Manifest
    written: int = 0
    seconds: float = 0.0
    created: list[str] = field(default_factory=list)
    moved: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Part:
    """A partition to write: its first `done` records are in the log already."""

    tp: TopicPartition
    entry: PartitionEntry
    done: int

    @property
    def name(self) -> str:
        return f"{self.tp.topic}/{self.tp.partition}"

    @property
    def left(self) -> int:
        return self.entry.records - self.done


async def restore(settings: KafkaSettings, directory: Path, show: Bar, *, resume: bool = False) -> RestoreResult:
    """Write a backup into a log whose topics are empty or not there yet; `resume` goes on after an interruption.

    Raises FileNotFoundError when there is no backup, ValueError when a file is damaged or the log does not fit,
    RuntimeError when another program wrote meanwhile, ConnectionError when the log does not answer. Before the last two
    nothing was written.
    """
    began = time.monotonic()
    manifest = read_manifest(directory)
    if manifest is None:
        raise FileNotFoundError(f"there is no backup in {directory}: it has no {MANIFEST}")
    await asyncio.to_thread(_verify, directory, manifest, show)
    log = await describe(settings, list(manifest.topics))
    parts = _plan(manifest, log, resume=resume)
    await _compare_ends(settings, directory, [part for part in parts if part.done])
    created = await _create(settings, manifest, sorted(manifest.topics.keys() - log.keys()))
    result = RestoreResult(manifest, sum(part.left for part in parts), created=created)
    await _write_all(settings, directory, [part for part in parts if part.left], show)
    await _check_ends(settings, manifest)
    result.moved = {part.name: part.entry.moved for part in parts if part.entry.moved and part.entry.records}
    result.seconds = time.monotonic() - began
    return result


# ---- before anything is written -------------------------------------------------------------------------------------


def _verify(directory: Path, manifest: Manifest, show: Bar) -> None:
    wrong, done = [], 0
    with show("check the files", manifest.bytes, "bytes") as advance_to:
        for file in manifest.files():
            if trouble := damage(directory / file.path, file.bytes, file.sha256):
                wrong.append(f"{directory / file.path} ({trouble})")
            done += file.bytes
            advance_to(done)
    if wrong:
        raise ValueError(
            f"damaged, so nothing was written: {'; '.join(wrong)}. Copy them from another copy of this backup, "
            "or restore an older one"
        )


def _plan(manifest: Manifest, log: dict[str, LogTopic], *, resume: bool) -> list[_Part]:
    """Every partition, and how much of it is in the log. Raises ValueError when the log does not fit the backup."""
    parts = []
    for name, topic in manifest.topics.items():
        ends = log[name].ends if name in log else dict.fromkeys(topic.partitions, 0)
        if len(ends) != len(topic.partitions):
            raise ValueError(
                f"{name} has {len(ends)} partitions, and {len(topic.partitions)} in the backup: delete the empty "
                "topic; the restore then creates it"
            )
        parts += [_Part(TopicPartition(name, n), entry, ends[n]) for n, entry in sorted(topic.partitions.items())]
    full = sorted({part.tp.topic for part in parts if part.done})
    if full and not resume:
        raise ValueError(
            f"the log is not empty: {', '.join(full)} has records. If a restore of this backup was interrupted, use "
            "--resume; else restore into an empty log: stop the system, move its kafka directory away, and try again"
        )
    longer = [part.name for part in parts if part.left < 0]
    if longer:
        raise ValueError(
            f"{', '.join(longer)} has more records than the backup: this is another log, nothing was written"
        )
    return parts


async def _compare_ends(settings: KafkaSettings, directory: Path, parts: list[_Part]) -> None:
    """The last record of each begun partition must be the backup's record of that place."""
    last: dict[TopicPartition, Any] = {}
    async for record in records(settings, {part.tp: (part.done - 1, part.done) for part in parts}):
        headers = tuple(record.headers)
        last[TopicPartition(record.topic, record.partition)] = record.timestamp, record.key, record.value, headers
    for part in parts:
        _, *wanted = next(_rows(directory, part.entry, part.done - 1))[0]
        if last.get(part.tp) != tuple(wanted):
            raise ValueError(
                f"the last record of {part.name} differs from this backup: the log holds no interrupted restore of "
                "it. Restore into an empty log"
            )


async def _create(settings: KafkaSettings, manifest: Manifest, names: list[str]) -> list[str]:
    made = [
        NewTopic(
            name=name,
            num_partitions=len(manifest.topics[name].partitions),
            replication_factor=settings.replication,
            topic_configs={**manifest.topics[name].config, "min.insync.replicas": str(settings.min_insync)},
        )
        for name in names
    ]
    if made:
        async with admin(settings) as kafka:
            response = await kafka.create_topics(made, timeout_ms=20_000)
        for name, code, message in response.topic_errors:
            if code:
                raise for_code(code)(f"cannot create topic {name}: {message}")
    return names


# ---- writing --------------------------------------------------------------------------------------------------------


async def _write_all(settings: KafkaSettings, directory: Path, parts: list[_Part], show: Bar) -> None:
    places = asyncio.Semaphore(_AT_ONCE)
    done = 0
    async with Writer.started(settings) as writer:
        with show("write the log", sum(part.left for part in parts), "records") as advance_to:

            def advance(records: int) -> None:
                nonlocal done
                done += records
                advance_to(done)

            async def one(part: _Part) -> None:
                async with places:
                    await _write(writer, directory, part, advance)

            try:
                async with asyncio.TaskGroup() as group:
                    for part in parts:
                        group.create_task(one(part))
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from None


async def _write(writer: Writer, directory: Path, part: _Part, advance: Callable[[int], None]) -> None:
    batches = _rows(directory, part.entry, part.done)
    while rows := await asyncio.to_thread(next, batches, None):
        await writer.append(part.tp, rows)
        advance(len(rows))


def _rows(directory: Path, entry: PartitionEntry, skip: int) -> Iterator[list[Row]]:
    for file in entry.files:
        if skip < file.records:
            yield from read_rows(directory, file, skip)
        skip = max(0, skip - file.records)


async def _check_ends(settings: KafkaSettings, manifest: Manifest) -> None:
    log = await describe(settings, list(manifest.topics), wait_seconds=_TOPIC_SECONDS)
    if missing := manifest.topics.keys() - log.keys():
        raise ConnectionError(f"the log does not show the restored {', '.join(missing)}; see `animusic status`")
    wrong = [
        f"{name}/{number} ends at {log[name].ends[number]}, not {entry.records}"
        for name, topic in manifest.topics.items()
        for number, entry in topic.partitions.items()
        if log[name].ends[number] != entry.records
    ]
    if wrong:
        raise RuntimeError(
            f"another program wrote to the log during the restore: {'; '.join(wrong)}. Stop what writes to it, "
            "and restore into an empty log"
        )
