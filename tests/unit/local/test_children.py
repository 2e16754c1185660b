"""The end of a child is told, whatever ends it; who stops waiting leaves nothing open."""

import asyncio
import signal
import sys
from pathlib import Path

import psutil
import pytest

from services.local.processes.children import ended, spawn


async def test_an_exit_status_is_told_once_it_is_there(tmp_path: Path) -> None:
    child = spawn([sys.executable, "-c", "raise SystemExit(3)"], None, tmp_path / "log")
    assert await asyncio.wait_for(ended(child), 30) == 3
    assert await asyncio.wait_for(ended(child), 30) == 3


async def test_several_may_wait_for_one_that_is_killed(tmp_path: Path) -> None:
    child = spawn(["sleep", "60"], None, tmp_path / "log")
    waiting = [asyncio.create_task(ended(child)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    child.send_signal(signal.SIGKILL)
    assert await asyncio.wait_for(asyncio.gather(*waiting), 30) == [-signal.SIGKILL] * 3


async def test_who_stops_waiting_leaves_no_file_open(tmp_path: Path) -> None:
    child = spawn(["sleep", "60"], None, tmp_path / "log")
    before = psutil.Process().num_fds()
    waiting = asyncio.create_task(ended(child))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert psutil.Process().num_fds() == before
    assert child.poll() is None
    child.kill()
    assert await ended(child) == -signal.SIGKILL


async def test_where_the_kernel_does_not_tell_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.pidfd_open", raising=False)
    monkeypatch.setattr("services.local.processes.children.POLL_S", 0.01)
    child = spawn([sys.executable, "-c", "raise SystemExit(4)"], None, tmp_path / "log")
    assert await asyncio.wait_for(ended(child), 30) == 4
