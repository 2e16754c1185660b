"""The worker processes of a rebuild, as the engine sees them."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from pydantic import TypeAdapter

from services.common.settings import REPO_ROOT
from services.rebuild.job import Job, Partition, Report

_LIMITS: Final[TypeAdapter[dict[str, int]]] = TypeAdapter(dict[str, int])
_BUFFERED: Final = 16 << 20
_STOP_SECONDS: Final = 10.0
# Stores what a worker handed over, by name; how many records the store will never take.
Store = Callable[[list[tuple[str, bytes]]], Awaitable[int]]


def partitioned(partitions: Sequence[Partition], workers: int) -> list[list[Partition]]:
    """Partitions by worker, about equally many records each. No worker has none."""
    shares: list[list[Partition]] = [[] for _ in range(min(workers, len(partitions)))]
    for partition in sorted(partitions, key=lambda p: (-p.size, p.topic, p.partition)):
        min(shares, key=lambda share: (sum(p.size for p in share), len(share))).append(partition)
    return shares


class Worker:
    """One process with a job."""

    def __init__(self, job: Job, store: Store) -> None:
        self._job = job
        self._store = store
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self.report = Report()

    async def start(self) -> None:
        """Start it; returns at once."""
        path = os.pathsep.join(filter(None, [str(REPO_ROOT), os.environ.get("PYTHONPATH", "")]))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "services.rebuild.worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_BUFFERED,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        self._tell(self._job.model_dump_json().encode())
        self._listening = asyncio.create_task(self._listen(self._process))

    def limit(self, limits: Mapping[str, int]) -> None:
        """Let it read up to here."""
        self._tell(_LIMITS.dump_json(dict(limits)))

    def check(self) -> None:
        """Raises what ended it, RuntimeError where it ended by itself."""
        if self._listening is not None and self._listening.done():
            self._listening.result()

    async def stop(self) -> None:
        """End it; what it has not flushed is read again by the next one."""
        if self._process is None or self._listening is None:
            return
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _tell(self, line: bytes) -> None:
        if self._process is not None and self._process.stdin is not None and self._process.returncode is None:
            self._process.stdin.write(line + b"\n")

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        out = process.stdout
        assert out is not None
        refused = 0
        # One that was killed leaves a part of a line or of a block.
        with contextlib.suppress(asyncio.IncompleteReadError):
            while (line := await out.readline()).endswith(b"\n"):
                report = Report.model_validate_json(line)
                if report.error:
                    raise RuntimeError(report.error)
                if report.blocks:
                    blocks = [(block.name, await out.readexactly(block.size)) for block in report.blocks]
                    refused += await self._store(blocks)
                self.report = report.model_copy(update={"blocks": (), "poison": report.poison + refused})
        raise RuntimeError(f"a worker (pid {process.pid}) ended with status {await process.wait()}")


class Workers:
    """All processes of one rebuild. A context that starts and stops them.

    `job` names all partitions; its rate is that of all workers together.
    """

    def __init__(self, job: Job, workers: int, store: Store) -> None:
        shares = partitioned(job.partitions, workers)
        rate = None if job.rate is None else job.rate / len(shares)
        jobs = [job.model_copy(update={"partitions": tuple(share), "rate": rate}) for share in shares]
        self._workers = [Worker(one, store) for one in jobs]

    async def __aenter__(self) -> "Workers":
        try:
            for worker in self._workers:
                await worker.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    def limit(self, limits: Mapping[str, int]) -> None:
        """Let all of them read up to here."""
        for worker in self._workers:
            worker.limit(limits)

    def report(self) -> Report:
        """What all of them say together. Raises RuntimeError when one of them ended, and what its store raised."""
        for worker in self._workers:
            worker.check()
        reports = [worker.report for worker in self._workers]
        return Report(
            positions={field: at for report in reports for field, at in report.positions.items()},
            read={field: at for report in reports for field, at in report.read.items()},
            ends={field: at for report in reports for field, at in report.ends.items()},
            records=sum(report.records for report in reports),
            poison=sum(report.poison for report in reports),
            gaps=tuple(dict.fromkeys(gap for report in reports for gap in report.gaps)),
            memory=sum(report.memory for report in reports),
            cpu_seconds=sum(report.cpu_seconds for report in reports),
        )
