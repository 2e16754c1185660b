"""The faults, done to a running system. Nothing here mends anything, but for starting a killed supervisor again."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
from redis import Redis

from tests.soak.healing import Healed, Healer
from tests.soak.plan import SUPERVISOR, Fault
from tests.soak.second import Second
from tests.support.system import System
from tests.support.waiting import poll


@dataclass(frozen=True)
class Done:
    """A fault that is over. `remark`: what was seen on the way; `healed` counts from the fault's end."""

    fault: Fault
    began: float
    healed: Healed
    remark: str = ""


class Breaker:
    """Breaks one system; `close` ends what it started and thaws what it froze."""

    def __init__(self, system: System, healer: Healer) -> None:
        self._system = system
        self._healer = healer
        self._second = Second(system)
        self._frozen: set[int] = set()

    def do(self, fault: Fault) -> tuple[Healed, str]:
        """Break it and wait until it is healthy: (how long that took after the fault's end, a remark)."""
        match fault.kind:
            case "kill":
                return self._kill(fault.target), ""
            case "outage":
                return self._outage(fault.target, fault.seconds), ""
            case "wipe":
                self._wipe()
                return self._healed(), ""
            case "rebalance":
                return self._rebalance(fault.target)
            case "zombie":
                return self._zombie()

    def close(self) -> None:
        """Let nothing stay behind."""
        for pid in list(self._frozen):
            self._thaw(pid)
        self._second.end("kill")

    # ---- each of them -----------------------------------------------------------------------------------------------

    def _healed(self, pids: dict[str, int] | None = None) -> Healed:
        return self._healer.wait(time.monotonic(), pids)

    def _kill(self, name: str) -> Healed:
        if name != SUPERVISOR:
            return self._healed({name: self._system.kill_part(name)})
        began = time.monotonic()
        self._system.kill()
        poll(lambda: not self._system.processes(), what="no child outlives its supervisor", timeout=15)
        self._system.start()
        return self._healer.wait(began)

    def _outage(self, name: str, seconds: float) -> Healed:
        with self._freezing(name):
            time.sleep(seconds)
        return self._healed()

    def _wipe(self) -> None:
        url = self._system.settings().redis.url
        with Redis.from_url(url, socket_timeout=30) as redis:
            redis.flushall()

    def _rebalance(self, end: str) -> tuple[Healed, str]:
        began = time.monotonic()
        self._second.start()
        self._healer.wait(began)
        share, joined = self._second.follows(), time.monotonic() - began
        self._second.end(end)
        return (
            self._healed(),
            f"the second followed {share} of {self._second.everything} partitions; {joined:.1f} s to join",
        )

    def _zombie(self) -> tuple[Healed, str]:
        """Frozen for as long as it takes the second to get everything, and a while on; Redis is wiped meanwhile."""
        self._second.start()
        with self._freezing("profiles"):
            took = self._second.wait_for_all()
            self._wipe()
        awake = self._healed()
        self._second.end()
        remark = f"lost all partitions after {took:.1f} s; Redis was wiped; healthy {awake.healthy:.1f} s after it woke"
        return self._healed(), f"{remark}; then the second was stopped"

    @contextlib.contextmanager
    def _freezing(self, name: str) -> Iterator[None]:
        pid = int(self._system.part(name)["pid"])
        os.kill(pid, signal.SIGSTOP)
        self._frozen.add(pid)
        try:
            yield
        finally:
            self._thaw(pid)

    def _thaw(self, pid: int) -> None:
        self._frozen.discard(pid)
        with contextlib.suppress(psutil.Error):
            psutil.Process(pid).resume()
