"""A second profiles consumer in the group of the supervised one, as a second machine would run it."""

import contextlib
import signal
import subprocess
import time

import httpx

from services.local.parts import animusic
from services.local.processes.children import spawn
from services.local.processes.ports import free_port
from services.profiles.app import TOPICS
from tests.support.system import System
from tests.support.waiting import poll


class Second:
    """Not started yet. It dies with this process."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.everything = system.settings().kafka.partitions * len(TOPICS)

    def start(self) -> None:
        """Start it and return once it follows partitions."""
        self._port = free_port()
        told = {"ANIMUSIC_KAFKA__INSTANCE": "second", "ANIMUSIC_PROFILES__METRICS_PORT": str(self._port)}
        environment = self._system.environment(**told)
        environment.pop("ANIMUSIC_PORT")
        log = self._system.data_dir / "logs" / "profiles-second.log"
        self._process = spawn(animusic("serve", "profiles"), environment, log)
        poll(self._follows_some, timeout=60, interval=0.1, what="the second consumer has partitions")

    def follows(self) -> int:
        """How many partitions it follows; 0 while it does not answer."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self._port}/readyz", timeout=2)
            return int(answer.json().get("partitions", 0)) if answer.is_success else 0
        except (httpx.TransportError, ValueError):
            return 0

    def _follows_some(self) -> int:
        assert self._process is not None
        assert self._process.poll() is None, "the second consumer ended; see logs/profiles-second.log"
        return self.follows()

    def wait_for_all(self) -> float:
        """Wait until every partition is its own; the seconds that it took."""
        began = time.monotonic()
        poll(
            lambda: self.follows() == self.everything, timeout=90, interval=0.1, what="all partitions are the second's"
        )
        return time.monotonic() - began

    def end(self, how: str = "stop") -> None:
        """SIGTERM (`stop`) or SIGKILL (`kill`), and wait."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=30)
        self._process.kill()
        self._process.wait()
        self._process = None
