"""Several `animusic serve profiles` processes that share one consumer group: stopped, woken and asked from outside."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from services.common.settings import KafkaSettings
from services.local.parts import animusic
from services.local.processes.ports import free_port
from tests.support.waiting import poll

ROOT: Final = Path(__file__).parents[2]
_FOLLOWED: Final = "animusic_consumer_partitions{"


class Member:
    """One profiles process of a group; each member has a name of its own in it."""

    def __init__(self, log: KafkaSettings, redis_url: str, directory: Path, name: str) -> None:
        self.name, self.log_path = name, directory / f"{name}.log"
        self.port = free_port()
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ANIMUSIC_")}
        self._environment = {
            **clean,
            "PYTHONPATH": str(ROOT),
            "ANIMUSIC_DATA_DIR": str(directory),
            "ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": log.bootstrap_servers,
            "ANIMUSIC_KAFKA__INSTANCE": name,
            "ANIMUSIC_KAFKA__SESSION_SECONDS": str(log.session_seconds),
            "ANIMUSIC_REDIS__URL": redis_url,
            "ANIMUSIC_PROFILES__METRICS_PORT": str(self.port),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it; returns at once."""
        with self.log_path.open("ab") as output:
            self._process = subprocess.Popen(
                animusic("serve", "profiles"), env=self._environment, stdout=output, stderr=output
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def freeze(self) -> float:
        """SIGSTOP; when, on the monotonic clock."""
        os.kill(self.pid, signal.SIGSTOP)
        return time.monotonic()

    def wake(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def partitions(self) -> int:
        """How many partitions it says that it follows; 0 when it does not answer."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=1.0).text
        except httpx.TransportError:
            return 0
        lines = [line for line in text.splitlines() if line.startswith(_FOLLOWED)]
        return int(float(lines[0].split()[-1])) if lines else 0

    def said(self) -> str:
        """Its log."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def end(self) -> None:
        """kill -9, also when it is frozen."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def members(log: KafkaSettings, redis_url: str, directory: Path, count: int) -> Iterator[list[Member]]:
    """A group of processes, each with partitions; killed at the end."""
    group = [Member(log, redis_url, directory, f"profiles-{number}") for number in range(1, count + 1)]
    try:
        for member in group:
            member.start()
        poll(lambda: all(m.partitions() for m in group), timeout=60, interval=0.2, what="each member has partitions")
        yield group
    finally:
        for member in group:
            member.end()
