"""Who reads for a rebuild: this process, and others beside it.

A process of its own for each share would leave this one waiting, and what a process imports costs half a second of a
core: of a million records that is as much as a twentieth of all that they cost.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from redis.asyncio import Redis

from services.common.settings import REPO_ROOT
from services.operator.replay.job import Job, Partition, Report
from services.operator.replay.reading import Reader

_STANDING_BACK = "services.common.process.priority"
_MODULE = "services.operator.replay.worker"
_STOP_SECONDS = 30.0


def shared_out(partitions: Sequence[Partition], workers: int) -> list[list[Partition]]:
    """Partitions by worker, about equally many records each; the biggest are dealt out first. No worker has none."""
    shares: list[list[Partition]] = [[] for _ in range(min(workers, len(partitions)))]
    for partition in sorted(partitions, key=lambda p: (-p.size, p.topic, p.partition)):
        min(shares, key=lambda share: (sum(p.size for p in share), len(share))).append(partition)
    return shares


class Share(Protocol):
    """Partitions that are being read."""

    async def start(self) -> None:
        """Begin; returns at once."""
        ...

    def report(self) -> Report:
        """How far it is. Raises RuntimeError when it ended before its time."""
        ...

    def hurry(self) -> None:
        """Let it take each record as it comes from now on."""
        ...

    async def stop(self) -> None:
        """Ask it to end and wait. What it flushed stays."""
        ...


class OwnShare:
    """A job that this process does itself."""

    def __init__(self, job: Job, redis: Redis) -> None:
        self._reader = Reader(job, redis)
        self._reading: asyncio.Task[Report] | None = None

    async def start(self) -> None:
        """See Share."""
        self._reading = asyncio.create_task(self._reader.whole())

    def report(self) -> Report:
        """See Share."""
        reading = self._reading
        report = reading.result() if reading is not None and reading.done() else self._reader.report()
        if report.error:
            raise RuntimeError(report.error)
        return report

    def hurry(self) -> None:
        """See Share."""
        self._reader.hurry()

    async def stop(self) -> None:
        """See Share."""
        if self._reading is None:
            return
        self._reader.stop()
        await asyncio.wait([self._reading], timeout=_STOP_SECONDS)
        self._reading.cancel()


class Worker:
    """A job that another process does."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._report = Report()

    async def start(self) -> None:
        """See Share."""
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
            self._report = Report.model_validate_json(line)
        await process.wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def _ended(self) -> bool:
        return self._listening is not None and self._listening.done()

    def report(self) -> Report:
        """See Share: the last that it said."""
        if self._report.error:
            raise RuntimeError(self._report.error)
        if self._ended and self._process is not None and self._process.returncode:
            raise RuntimeError(f"a worker (pid {self.pid}) ended with status {self._process.returncode}")
        return self._report

    def hurry(self) -> None:
        """See Share."""
        if self._process is not None and self._process.stdin is not None and not self._ended:
            self._process.stdin.write(b"hurry\n")

    async def stop(self) -> None:
        """See Share; killed when it does not end."""
        if self._process is None or self._listening is None:
            return
        if not self._ended and self._process.stdin is not None:
            self._process.stdin.write(b"stop\n")
            try:
                await asyncio.wait_for(asyncio.shield(self._listening), _STOP_SECONDS)
            except TimeoutError:
                self._process.kill()
        await self._listening


class Workers:
    """All who read for one rebuild: this process, and as many others as there are more workers than one."""

    def __init__(self, job: Job, redis: Redis, workers: int) -> None:
        """`job` names all partitions; its rate is that of all workers together."""
        shares = shared_out(job.partitions, workers)
        rate = None if job.rate is None else job.rate / len(shares)
        own, *others = [job.model_copy(update={"partitions": tuple(share), "rate": rate}) for share in shares]
        self._shares: list[Share] = [OwnShare(own, redis), *map(Worker, others)]

    async def start(self) -> None:
        """Start all of them."""
        await asyncio.gather(*(share.start() for share in self._shares))

    def hurry(self) -> None:
        """Let all of them take each record as it comes: readers are about to be pointed to what they write."""
        for share in self._shares:
            share.hurry()

    async def stop(self) -> None:
        """Stop all of them; what they flushed stays."""
        await asyncio.gather(*(share.stop() for share in self._shares))

    def report(self) -> Report:
        """What all of them say together. Raises RuntimeError when one of them ended before its time."""
        try:
            reports = [share.report() for share in self._shares]
        except RuntimeError as error:
            raise RuntimeError(f"{error}; nothing is lost: the same command goes on from where this one was") from error
        return Report(
            positions={field: at for report in reports for field, at in report.positions.items()},
            read={field: at for report in reports for field, at in report.read.items()},
            ends={field: at for report in reports for field, at in report.ends.items()},
            records=sum(report.records for report in reports),
            poison=sum(report.poison for report in reports),
            gaps=tuple(dict.fromkeys(gap for report in reports for gap in report.gaps)),
            memory=sum(report.memory for report in reports),
            done=all(report.done for report in reports),
        )
