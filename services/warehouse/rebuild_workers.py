"""The reading processes of a rebuild, as the warehouse sees them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Final

from services.common.settings import REPO_ROOT
from services.warehouse.rebuild_job import Frame, Job, Limits, Partition

_STANDING_BACK: Final = "services.common.process.priority"
_MODULE: Final = "services.warehouse.rebuild_worker"
_BUFFERED: Final = 16 << 20
_STOP_SECONDS: Final = 10.0


def shared_out(partitions: Sequence[tuple[Partition, int]], workers: int) -> list[list[Partition]]:
    """Partitions, each with the records that it has to read, by worker: about equally many each. None has none."""
    shares: list[list[Partition]] = [[] for _ in range(min(workers, len(partitions)))]
    sizes = [0] * len(shares)
    for partition, size in sorted(partitions, key=lambda one: (-one[1], one[0].topic, one[0].partition)):
        least = min(range(len(shares)), key=lambda i: (sizes[i], len(shares[i])))
        shares[least].append(partition)
        sizes[least] += size
    return shares


class Worker:
    """One process with a job. A process that is killed leaves what it has handed over, and its marks."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; returns at once."""
        path = os.pathsep.join(filter(None, [str(REPO_ROOT), os.environ.get("PYTHONPATH", "")]))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", _STANDING_BACK, str(self._job.nice), _MODULE,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_BUFFERED,
            env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
        )  # fmt: skip
        self._tell(self._job.model_dump_json())

    def limit(self, limits: dict[str, int]) -> None:
        """Let it read up to here."""
        self._tell(Limits(limits=limits).model_dump_json())

    async def frames(self) -> AsyncIterator[tuple[Frame, list[bytes]]]:
        """What it hands over. Raises RuntimeError when it ends by itself."""
        assert self._process is not None
        assert self._process.stdout is not None
        out = self._process.stdout
        while line := await out.readline():
            frame = Frame.model_validate_json(line)
            if frame.error:
                raise RuntimeError(frame.error)
            yield frame, [await out.readexactly(block.size) for block in frame.blocks]
        raise RuntimeError(f"a reader (pid {self._process.pid}) ended with status {await self._process.wait()}")

    async def stop(self) -> None:
        """End it; what it has not handed over is read again by the next one."""
        if self._process is None or self._process.returncode is not None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
