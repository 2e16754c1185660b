"""The base class of Kafka and Valkey as child processes: start, wait until ready, stop, kill."""

import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path

from services.local.errors import ProcessFailed
from services.local.processes.children import spawn

PROBE_INTERVAL_S = 0.05
LOG_TAIL_BYTES = 2_000


class ManagedProcess(ABC):
    """One process on one data directory. A supervisor may instead call `prepare` and run `command` by itself."""

    name: str
    data_dir: Path
    log_path: Path

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Write the configuration and whatever the first start needs. Call it before each start; it is idempotent."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line, for a process in `data_dir`; it stays in the foreground and logs to its standard output."""

    @abstractmethod
    def env(self) -> dict[str, str]:
        """The whole environment of the process."""

    @abstractmethod
    def trouble(self, pid: int) -> str | None:
        """Why the process of this id does not serve now, or None; within about a second, never raises."""

    def probe(self) -> bool:
        """Whether the child that `start` made serves requests now; answers within about a second and never raises."""
        return self._child is not None and self.trouble(self._child.pid) is None

    @property
    def pid(self) -> int | None:
        """The process id; None when `start` was not called or the child was stopped."""
        return self._child.pid if self._child is not None else None

    @property
    def running(self) -> bool:
        """Whether the child that `start` made is still there."""
        return self._child is not None and self._child.poll() is None

    def start(self, pidfile: Path | None = None) -> None:
        """Prepare and start the child; it dies with this process. Does nothing when it runs already."""
        if not self.running:
            self.prepare()
            self._child = spawn(self.command(), self.env(), self.log_path, self.data_dir, pidfile=pidfile)

    def wait_ready(self, timeout: float = 60.0) -> float:
        """Wait until requests are served; the seconds it took. Raises ProcessFailed with the end of the log."""
        began = time.monotonic()
        while not self.probe():
            self._fail_if_ended()
            if time.monotonic() - began > timeout:
                raise ProcessFailed(f"{self.name} was not ready within {timeout:.0f} s. {self._log_tail()}")
            time.sleep(PROBE_INTERVAL_S)
        return time.monotonic() - began

    def stop(self, timeout: float = 30.0) -> None:
        """Ask it to end and wait; kill it when it has not ended after `timeout` seconds."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self._child = None

    def kill(self) -> None:
        """kill -9, as a crash would."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def _fail_if_ended(self) -> None:
        status = self._child.poll() if self._child is not None else None
        if status is not None:
            raise ProcessFailed(f"{self.name} ended by itself with status {status}. {self._log_tail()}")

    def _log_tail(self) -> str:
        try:
            tail = self.log_path.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
        except OSError:
            tail = ""
        return f"The end of its log, {self.log_path}:\n{tail or '(empty)'}"
