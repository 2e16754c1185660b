"""`animusic backup` and `animusic restore` as an operator types them, with a system and without one."""

import os
import subprocess
from pathlib import Path

import pytest

from services.common.settings import KafkaSettings
from services.local.parts import animusic
from services.operator.backup.manifest import Manifest, read_manifest
from tests.connected.operator_backup.house import fill

pytestmark = pytest.mark.connected

ROOT = Path(__file__).parents[3]


def typed(data_dir: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ANIMUSIC_")}
    own = {"ANIMUSIC_DATA_DIR": str(data_dir), "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(animusic(*arguments), env={**clean, **own}, capture_output=True, text=True, timeout=120)


def held(directory: Path) -> Manifest:
    """The manifest of a backup that is there."""
    found = read_manifest(directory)
    assert found is not None
    return found


async def test_to_another_machine_and_back_into_a_backup(log: KafkaSettings, tmp_path: Path) -> None:
    """A running log is copied; a machine without a system takes it in; its own backup holds the same bytes."""
    await fill(log, rounds=20)
    there = {"ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": log.bootstrap_servers}
    done = typed(tmp_path / "a", "backup", str(tmp_path / "b"), **there)
    assert done.returncode == 0, done.stderr
    first = held(tmp_path / "b")
    assert f"copied{first.records:>16,} records" in done.stdout
    assert "copy the log:" in done.stderr
    done = typed(tmp_path / "new", "restore", str(tmp_path / "b"))
    assert done.returncode == 0, done.stderr
    assert "signing key" in done.stdout
    refused = typed(tmp_path / "new", "restore", str(tmp_path / "b"))
    assert refused.returncode == 1
    assert "the log is not empty" in refused.stderr
    done = typed(tmp_path / "new", "backup", str(tmp_path / "b2"), "--topics", ",".join(first.topics))
    assert done.returncode == 0, done.stderr
    assert [file.sha256 for file in held(tmp_path / "b2").files()] == [file.sha256 for file in first.files()]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    done = typed(tmp_path / "nothing", "backup", str(tmp_path / "b"))
    assert (done.returncode, "there is no log in" in done.stderr) == (1, True)
    done = typed(tmp_path / "nothing", "restore", str(tmp_path / "b"))
    assert (done.returncode, "there is no backup in" in done.stderr) == (1, True)
    assert not (tmp_path / "nothing").exists()
