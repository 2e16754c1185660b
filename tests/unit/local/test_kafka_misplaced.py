"""A log that an earlier version wrote outside the data directory."""

import shlex
from pathlib import Path

import pytest

from services.local.errors import LogMisplaced
from services.local.processes.kafka_misplaced import leftover_sentence, misplaced_log, refuse_misplaced_log

CLUSTER = "AbcdefghijklmnopqrstuQ"


def formatted(log: Path, cluster: str = CLUSTER) -> Path:
    log.mkdir(parents=True)
    (log / "meta.properties").write_text(f"#\n#Mon Nov 30\ncluster.id={cluster}\nversion=1\n", encoding="utf-8")
    return log


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Where the log of a data directory belongs; its cluster has an id already."""
    log = tmp_path / "Müller" / "kafka" / "log"
    log.parent.mkdir(parents=True)
    (log.parent / "cluster-id").write_text(CLUSTER, encoding="utf-8")
    return log


def test_it_is_found_named_and_the_command_moves_it(tmp_path: Path, ours: Path) -> None:
    wrong = formatted(tmp_path / "Mxfcller" / "kafka" / "log")
    assert misplaced_log(ours) == wrong
    with pytest.raises(LogMisplaced, match="earlier version") as refused:
        refuse_misplaced_log(ours)
    assert str(refused.value).endswith(shlex.join(["mv", str(wrong), str(ours)]))


def test_an_emoji_was_spelled_with_eight_digits(tmp_path: Path) -> None:
    log = tmp_path / "🎵" / "log"
    log.parent.mkdir()
    (log.parent / "cluster-id").write_text(CLUSTER, encoding="utf-8")
    assert misplaced_log(log) is None
    wrong = formatted(tmp_path / "U0001f3b5" / "log")
    assert misplaced_log(log) == wrong


def test_once_moved_there_is_nothing_to_say(tmp_path: Path, ours: Path) -> None:
    formatted(tmp_path / "Mxfcller" / "kafka" / "log").rename(ours)
    refuse_misplaced_log(ours)
    assert leftover_sentence(ours) is None


def test_a_copy_that_was_left_is_said_and_does_not_stop_a_start(tmp_path: Path, ours: Path) -> None:
    wrong = formatted(tmp_path / "Mxfcller" / "kafka" / "log")
    formatted(ours)
    refuse_misplaced_log(ours)
    said = leftover_sentence(ours)
    assert said is not None
    assert str(wrong) in said


def test_another_data_directory_of_that_name_is_not_ours(tmp_path: Path, ours: Path) -> None:
    formatted(tmp_path / "Mxfcller" / "kafka" / "log", "BbcdefghijklmnopqrstuQ")
    refuse_misplaced_log(ours)
    assert misplaced_log(ours) is None


def test_japanese_was_always_spelled_right(tmp_path: Path) -> None:
    log = formatted(tmp_path / "日本" / "log")
    (log.parent / "cluster-id").write_text(CLUSTER, encoding="utf-8")
    assert misplaced_log(log) is None
