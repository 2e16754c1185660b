"""The processes of a rebuild, as their parent sees them."""

import asyncio
import os
import sys
from collections.abc import Sequence

from services.common.settings import REPO_ROOT
from services.operator.replay.job import Job, Partition, Report

_STANDING_BACK = "services.common.priority"
_MODULE = "services.operator.replay.worker"
_STOP_SECONDS = 30.0


def shared_out(partitions: Sequence[Partition], workers: int) -> list[list[Partition]]:
    """Partitions by worker, about equally many records each; the biggest are dealt out first. No worker has none."""
    shares: list[list[Partition]] = [[] for _ in range(min(workers, len(partitions)))]
    for partition in sorted(partitions, key=lambda p: (-p.size, p.topic, p.partition)):
        min(shares, key=lambda share: (sum(p.size for p in share), len(share))).append(partition)
    return shares


class Worker:
    """One process with a job. `report` is the last that it said."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self.report = Report()

    async def start(self) -> None:
        """Start the process; returns at once."""
        path = os.pathsep.join(filter(None, [str(REPO_ROOT), os.environ.get("PYTHONPATH", "")]))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", _STANDING_BACK, str(self._job.nice), _MODULE,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
            env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(self._job.model_dump_json().encode() + b"\n")
        self._listening = asyncio.create_task(self._listen(self._process))

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.report = Report.model_validate_json(line)
        await process.wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._listening is not None and self._listening.done()

    def trouble(self) -> str:
        """Why it ended before its time, in one sentence; empty when all is well."""
        if self.report.error:
            return self.report.error
        if self.ended and self._process is not None and self._process.returncode:
            return f"a worker (pid {self.pid}) ended with status {self._process.returncode}"
        return ""

    async def stop(self) -> None:
        """Ask it to end and wait; kill it when it does not."""
        if self._process is None or self._listening is None:
            return
        if not self.ended and self._process.stdin is not None:
            self._process.stdin.write(b"stop\n")
            try:
                await asyncio.wait_for(asyncio.shield(self._listening), _STOP_SECONDS)
            except TimeoutError:
                self._process.kill()
        await self._listening


class Workers:
    """All workers of one rebuild."""

    def __init__(self, job: Job, workers: int) -> None:
        """`job` names all partitions; its rate is that of all workers together."""
        shares = shared_out(job.partitions, workers)
        rate = None if job.rate is None else job.rate / len(shares)
        self._workers = [Worker(job.model_copy(update={"partitions": tuple(share), "rate": rate})) for share in shares]

    async def start(self) -> None:
        """Start all of them."""
        await asyncio.gather(*(worker.start() for worker in self._workers))

    async def stop(self) -> None:
        """Stop all of them; what they flushed stays."""
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    @property
    def done(self) -> bool:
        """Whether each has read its partitions to their ends."""
        return all(worker.report.done for worker in self._workers)

    def report(self) -> Report:
        """What all of them say together. Raises RuntimeError when one of them ended before its time."""
        reports = [worker.report for worker in self._workers]
        trouble = next(filter(None, (worker.trouble() for worker in self._workers)), "")
        if trouble:
            raise RuntimeError(f"{trouble}; nothing is lost: the same command goes on from where this one was")
        return Report(
            positions={field: at for report in reports for field, at in report.positions.items()},
            read={field: at for report in reports for field, at in report.read.items()},
            ends={field: at for report in reports for field, at in report.ends.items()},
            records=sum(report.records for report in reports),
            poison=sum(report.poison for report in reports),
            gaps=tuple(dict.fromkeys(gap for report in reports for gap in report.gaps)),
            memory=sum(report.memory for report in reports),
            done=self.done,
        )
