"""What a backup's files and manifest promise, without a log."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.process.clock import now_ms
from services.operator.backup.files import FileWriter, damage, read_rows
from services.operator.backup.manifest import (
    MANIFEST,
    FileEntry,
    Manifest,
    PartitionEntry,
    TopicEntry,
    read_manifest,
    write_manifest,
)
from services.operator.backup.restoring import _plan
from services.operator.backup.taking import BackupResult, _renew_stale, _update_topics
from services.operator.readers.log import LogTopic

TOPIC_ID = "f" * 32
DAY_MS = 86_400_000

rows = st.lists(
    st.tuples(
        st.integers(0, 2**62),
        st.none() | st.binary(max_size=20),
        st.none() | st.binary(max_size=50),
        st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=3),
    ),
    min_size=1,
    max_size=20,
)


def record(offset: int, timestamp: int, key: bytes | None, value: bytes | None, headers: object) -> SimpleNamespace:
    """A fetched record."""
    return SimpleNamespace(offset=offset, timestamp=timestamp, key=key, value=value, headers=headers)


def entry(*files: tuple[int, int, int], start: int = 0) -> PartitionEntry:
    """A partition with files of (first, upto, records)."""
    made = [
        FileEntry(path=f"t/0/{first}.parquet", first=first, upto=upto, records=records, bytes=1, sha256="")
        for first, upto, records in files
    ]
    return PartitionEntry(start=start, upto=files[-1][1] if files else start, files=made)


def manifest(partition: PartitionEntry, complete_ms: int = 0) -> Manifest:
    """A backup of one partition of topic `t`."""
    topic = TopicEntry(topic_id=TOPIC_ID, config={}, partitions={0: partition}, complete_ms=complete_ms)
    return Manifest(created_ms=1, updated_ms=1, topics={"t": topic})


def log_topic(start: int, end: int, topic_id: str = TOPIC_ID, **config: str) -> dict[str, LogTopic]:
    """A log with topic `t`."""
    return {"t": LogTopic(topic_id, config, {0: start}, {0: end})}


@settings(max_examples=40)
@given(rows, st.integers(0, 25))
def test_records_come_back_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, made: list, skip: int) -> None:
    root = tmp_path_factory.mktemp("f")
    records = [record(number * 2, *fields) for number, fields in enumerate(made)]
    writer = FileWriter(root, "t/0/x.parquet", 0)
    writer.add(records[:3])
    if records[3:]:
        writer.add(records[3:])
    written = writer.close(2 * len(records))
    found = [row for batch in read_rows(root, written, skip) for row in batch]
    wanted = [(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in records]
    assert [tuple(row) for row in found] == wanted[skip:]
    assert (written.records, damage(root / written.path, written.bytes, written.sha256)) == (len(records), None)


def test_damage_is_told(tmp_path: Path) -> None:
    writer = FileWriter(tmp_path, "t/0/x.parquet", 0)
    writer.add([record(0, 1, b"k", b"v" * 100, ())])
    written = writer.close(1)
    path = tmp_path / written.path
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert damage(path, written.bytes, written.sha256) == "its sha256 differs"
    path.write_bytes(whole[:-1])
    assert "bytes, not" in str(damage(path, written.bytes, written.sha256))
    path.unlink()
    assert damage(path, written.bytes, written.sha256) == "no such file or directory"


def test_an_abandoned_file_leaves_nothing(tmp_path: Path) -> None:
    writer = FileWriter(tmp_path, "t/0/x.parquet", 0)
    writer.add([record(0, 1, None, None, ())])
    writer.abandon()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_manifest_comes_back_and_nonsense_is_refused(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    made = manifest(entry((0, 5, 5), (5, 9, 2)))
    write_manifest(tmp_path, made)
    assert read_manifest(tmp_path) == made
    assert (made.records, made.topics["t"].partitions[0].moved) == (7, 2)
    said = json.loads((tmp_path / MANIFEST).read_text())
    said["format"] = 2
    (tmp_path / MANIFEST).write_text(json.dumps(said))
    with pytest.raises(ValueError, match="cannot be read by this version"):
        read_manifest(tmp_path)
    write_manifest(tmp_path, manifest(entry((0, 5, 5), (4, 9, 5))))
    with pytest.raises(ValueError, match="contradicts itself in t/0"):
        read_manifest(tmp_path)


def test_only_what_is_new_is_to_be_copied() -> None:
    held = manifest(entry((0, 5, 5)))
    (span,) = _update_topics(held, log_topic(0, 9), BackupResult(held))
    assert (span.start, span.upto) == (5, 9)
    assert _update_topics(held, log_topic(0, 5), BackupResult(held)) == []
    with pytest.raises(ValueError, match="the log lost records"):
        _update_topics(held, log_topic(0, 4), BackupResult(held))
    with pytest.raises(ValueError, match="created again"):
        _update_topics(held, log_topic(0, 9, "0" * 32), BackupResult(held))


def test_what_expired_before_it_was_copied_is_told() -> None:
    held = manifest(entry((0, 5, 5)))
    result = BackupResult(held)
    (span,) = _update_topics(held, log_topic(7, 9), result)
    assert (span.start, held.topics["t"].partitions[0].lost) == (7, [(5, 7)])
    assert "offsets 5 to 6" in result.lost[0]


@pytest.mark.parametrize(
    ("age_days", "policy", "anew"), [(31, "compact", True), (29, "compact", False), (31, "delete", False)]
)
def test_expired_tombstones_make_a_compacted_topic_be_copied_again(age_days: int, policy: str, anew: bool) -> None:
    now = now_ms()
    held = manifest(entry((0, 5, 5)), complete_ms=now - age_days * DAY_MS)
    config = {"cleanup.policy": policy, "delete.retention.ms": str(30 * DAY_MS)}
    log = log_topic(0, 9, **config)
    result = BackupResult(held)
    _renew_stale(held, log, now, result)
    (span,) = _update_topics(held, log, result)
    assert (result.recopied == ["t"], span.start) == (anew, 0 if anew else 5)
    # The older copy is what a restore finds until the new one is whole.
    assert held.topics["t"].records == 5


def test_a_restore_goes_where_it_fits() -> None:
    held = manifest(entry((0, 5, 5), (5, 9, 3)))
    (fresh,) = _plan(held, {}, resume=False)
    assert (fresh.done, fresh.left) == (0, 8)
    with pytest.raises(ValueError, match="--resume"):
        _plan(held, log_topic(0, 3), resume=False)
    (begun,) = _plan(held, log_topic(0, 3), resume=True)
    assert (begun.done, begun.left) == (3, 5)
    with pytest.raises(ValueError, match="more records than the backup"):
        _plan(held, log_topic(0, 9), resume=True)
    two = {"t": LogTopic(TOPIC_ID, {}, {0: 0, 1: 0}, {0: 0, 1: 0})}
    with pytest.raises(ValueError, match="2 partitions, and 1 in the backup"):
        _plan(held, two, resume=False)
