"""Child processes that die with their parent.

On Linux the kernel kills a child when its parent dies (PR_SET_PDEATHSIG). Two traps are avoided here:
- Code between fork and exec (`preexec_fn`) is unsafe in a process with threads, and makes Popen fork the whole
  parent. A tiny Python sets the signal and then *becomes* the command by exec instead: same pid, about 15 ms.
- The signal is sent when the *thread* that forked ends, not the process. So one thread that never ends forks for all.
Elsewhere `reap_stale` finds what a previous run left behind: by pid and start time, so that a reused pid is safe.
"""

import asyncio
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

import psutil

START_TIME_TOLERANCE_S = 1.0
REAP_TIMEOUT_S = 10.0
# Only where the kernel cannot tell: macOS, Linux before 5.3.
POLL_S = 0.2

TRAMPOLINE = Path(__file__).with_name("die_with_parent.py")


def spawn(
    cmd: Sequence[str],
    env: Mapping[str, str] | None,
    log_path: Path,
    cwd: Path | None = None,
    *,
    pidfile: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start `cmd` with its output appended to `log_path`; it dies with this process, even when that is killed.

    The child leads its own session, so Ctrl-C on the terminal reaches the parent alone. With `pidfile` it can be
    found by a later run's `reap_stale`. Raises OSError when the command cannot be run (except on Linux, where
    a missing program shows as exit status 127 and a line in the log).
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    child = _spawner.run(list(cmd), dict(os.environ if env is None else env), log_path, cwd)
    if pidfile is not None:
        _write_pidfile(pidfile, child)
    return child


async def ended(child: subprocess.Popen[bytes]) -> int:
    """The exit status of a child, once it has ended. On Linux the kernel tells; nothing is polled."""
    if child.poll() is None:
        try:
            pidfd = os.pidfd_open(child.pid)
        except (AttributeError, OSError):
            while child.poll() is None:  # noqa: ASYNC110 - nothing here tells that a process ended
                await asyncio.sleep(POLL_S)
        else:
            await _readable(pidfd)
    return child.wait()


async def _readable(pidfd: int) -> None:
    """Wait until the process of a pidfd has ended, and close it."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pidfd, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def reap_stale(pidfile_dir: Path) -> list[str]:
    """Kill what a previous run left running, by the pidfiles in `pidfile_dir`; the names of those killed.

    Call it with the data directory locked: a live run's children look the same. Every pidfile is removed.
    """
    victims: dict[str, psutil.Process] = {}
    for pidfile in sorted(pidfile_dir.glob("*.pid")):
        process = _still_running(pidfile)
        if process is not None:
            victims[pidfile.stem] = process
        pidfile.unlink(missing_ok=True)
    for process in victims.values():
        _kill(process)
    deadline = time.monotonic() + REAP_TIMEOUT_S
    while any(map(_alive, victims.values())) and time.monotonic() < deadline:
        time.sleep(0.02)
    return list(victims)


class _Spawner:
    """One thread per process that forks every child, and lives as long as the process does."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._pid = 0

    def run(self, cmd: list[str], env: dict[str, str], log: Path, cwd: Path | None) -> subprocess.Popen[bytes]:
        job = _Job(cmd, env, log, cwd)
        with self._guard:
            if self._pid != os.getpid():
                self._begin()
        self._jobs.put(job)
        return job.answer.result()

    def _begin(self) -> None:
        self._jobs = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(self._jobs,), name="spawner", daemon=True).start()
        self._pid = os.getpid()


class _Job:
    def __init__(self, cmd: list[str], env: dict[str, str], log: Path, cwd: Path | None) -> None:
        self.cmd, self.env, self.log, self.cwd = cmd, env, log, cwd
        self.answer: Future[subprocess.Popen[bytes]] = Future()

    def do(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                _bound_to_parent(self.cmd),
                env=self.env,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


_spawner = _Spawner()


def _serve(jobs: "queue.SimpleQueue[_Job]") -> None:
    while True:
        job = jobs.get()
        try:
            job.answer.set_result(job.do())
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that asked
            job.answer.set_exception(error)


def _bound_to_parent(cmd: list[str]) -> list[str]:
    if sys.platform != "linux":
        return cmd
    return [sys.executable, "-I", "-S", str(TRAMPOLINE), str(os.getpid()), *cmd]


def _write_pidfile(pidfile: Path, child: subprocess.Popen[bytes]) -> None:
    pidfile.parent.mkdir(parents=True, exist_ok=True)
    try:
        started = psutil.Process(child.pid).create_time()
    except psutil.NoSuchProcess:
        return
    partial = pidfile.with_suffix(".partial")
    # On a full disk the child is still returned: an error here would make the caller start a second one.
    with contextlib.suppress(OSError):
        partial.write_text(json.dumps({"pid": child.pid, "started": started}), encoding="utf-8")
        partial.replace(pidfile)


def _still_running(pidfile: Path) -> psutil.Process | None:
    try:
        noted = json.loads(pidfile.read_text(encoding="utf-8"))
        process = psutil.Process(int(noted["pid"]))
        same = abs(process.create_time() - float(noted["started"])) <= START_TIME_TOLERANCE_S
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None
    return process if same and _alive(process) else None


def _alive(process: psutil.Process) -> bool:
    """Whether a process runs. A zombie holds no file, port or lock."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
