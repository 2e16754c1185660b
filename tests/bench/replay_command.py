"""A rebuild as a command, watched from outside: what it printed, and what its processes took."""

import asyncio
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from services.local.parts import animusic
from tests.bench.http_load import Outcome
from tests.bench.report import say

_SAID = re.compile(r"generation (\S+): ([\d,]+) records in ([\d.]+) s \(([\d,]+)/s\), at most (\d+) MB")


@dataclass
class Rebuilt:
    """A rebuild that ran while the system served. `said`: what the command printed; `peak`: of its processes, bytes."""

    served: Outcome = field(default_factory=Outcome)
    said: str = ""
    status: int = -1
    peak: int = 0
    wall: float = 0.0
    cpu: str = ""
    own_cpu: float = 0.0
    accepted: int = 0
    arrived: int = 0

    @property
    def records(self) -> int:
        """Records read until the live marks were reached."""
        return int(self._said()[2].replace(",", ""))

    @property
    def rate(self) -> int:
        """Records a second until then."""
        return int(self._said()[4].replace(",", ""))

    @property
    def generation(self) -> str:
        """What was built."""
        return self._said()[1]

    def _said(self) -> re.Match[str]:
        match = _SAID.search(self.said)
        if match is None:
            raise RuntimeError(f"the rebuild did not say how fast it was:\n{self.said[-2000:]}")
        return match


async def run(found: Rebuilt, system: Any, *arguments: str) -> None:
    """Run an `animusic` verb to its end, watching what its processes take."""
    environment = system.environment()
    environment.pop("ANIMUSIC_PORT", None)
    child = await asyncio.create_subprocess_exec(
        *animusic(*arguments), env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    watching = asyncio.create_task(_watch(psutil.Process(child.pid), found))
    said, _ = await child.communicate()
    watching.cancel()
    found.said, found.status = said.decode(), child.returncode or 0
    for line in found.said.splitlines():
        say(line)
    if found.status:
        raise RuntimeError(f"animusic {' '.join(arguments)} ended with status {found.status}:\n{found.said[-2000:]}")


async def _watch(process: psutil.Process, found: Rebuilt) -> None:
    """Note the most that a process and its children take together, and their CPU seconds."""
    cpu: dict[int, float] = {}
    while True:
        try:
            family = [process, *_descendants(process)]
            found.peak = max(found.peak, sum(one.memory_info().rss for one in family))
            cpu.update((one.pid, sum(one.cpu_times()[:2])) for one in family)
            found.own_cpu = sum(cpu.values())
        except psutil.Error:
            pass
        await asyncio.sleep(0.5)


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    """Asked of the kernel: psutil looks at every process of the machine, and playlists wait for this loop meanwhile."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not listed.exists():
        return process.children(recursive=True)
    children = [psutil.Process(int(pid)) for pid in listed.read_text(encoding="utf-8").split()]
    return [*children, *(one for child in children for one in _descendants(child))]
