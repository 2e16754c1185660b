"""What processes cost: CPU seconds and memory, asked of the kernel."""

import os
import resource
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 1 << 20


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """User and system CPU seconds of each process so far; a process that is gone is left out."""
    found = {}
    for name, pid in pids.items():
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        found[name] = times.user + times.system
    return found


class CpuMeter:
    """The CPU that processes take between two looks."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._before = cpu_seconds(self._pids)
        self._began = time.perf_counter()

    def seconds(self) -> dict[str, float]:
        """Name -> CPU seconds since this meter was made."""
        now = cpu_seconds(self._pids)
        return {name: now[name] - before for name, before in self._before.items() if name in now}

    def shares(self) -> dict[str, float]:
        """Name -> share of one core since this meter was made."""
        wall = time.perf_counter() - self._began
        return {name: used / wall for name, used in self.seconds().items()}


def percent(shares: Mapping[str, float], least: float = 0.01) -> str:
    """`gateway 61 %, kafka 40 %`, of one core each; a share below `least` is left out."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {share_of(share)}" for name, share in ordered if share >= least)


def milliseconds(seconds: Mapping[str, float], count: int) -> str:
    """`recommender 6.2, kafka 1.1, all 7.9`: CPU ms of processes for one of `count`; below 1 ms only in the sum."""
    each = sorted(((used * 1e3 / count, name) for name, used in seconds.items()), reverse=True)
    told = [f"{name} {used:.1f}" for used, name in each if used >= 1.0]
    return ", ".join([*told, f"all {sum(used for used, _ in each):.1f}"])


def share_of(ratio: float) -> str:
    """`61 %`."""
    return f"{ratio * 100:.0f} %"


def pss_bytes(pid: int) -> int:
    """Proportional set size: resident memory, with shared pages divided among those who share them."""
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except (psutil.Error, AttributeError):
        return 0


@dataclass(frozen=True)
class Cost:
    """What a command took. `peak_bytes` is its largest resident memory."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str


def run_measured(command: list[str], environment: Mapping[str, str], directory: Path) -> Cost:
    """Run a command to its end. Raises RuntimeError with the end of its output when it fails."""
    log = directory / "command.log"
    began = time.perf_counter()
    with log.open("wb") as output:
        child = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    said = log.read_text(errors="replace")
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {child.returncode}:\n{said[-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, _peak(usage), said)


def _peak(usage: resource.struct_rusage) -> int:
    return usage.ru_maxrss * 1024
