"""Measures the cost of a build, and reads and writes the topic `animusic.model-builds.v1`."""

import contextlib
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from contracts.model_builds import Machine, ModelBuild, Stage
from contracts.records import BUILD_VERSIONS
from contracts.topics import MODEL_BUILDS
from services.common.kafka import producer, read_to_end
from services.common.process.clock import now_ms
from services.common.settings import KafkaSettings

StageName = Literal["catalogue", "vectors", "checks", "index", "publish"]
_SELF: Final = Path("/proc/self")


class Meter:
    """Seconds, CPU seconds and the largest memory of a build, from its making on; `stage` separates the stages."""

    def __init__(self) -> None:
        self.started_at = now_ms()
        self._began, self._cpu = time.monotonic(), _cpu_seconds()
        self._stages: dict[str, Stage] = {}
        _forget_peak()

    @contextlib.contextmanager
    def stage(self, name: StageName) -> Iterator[None]:
        """What the block takes belongs to this stage; a stage that comes twice adds up."""
        began, cpu = time.monotonic(), _cpu_seconds()
        try:
            yield
        finally:
            before = self._stages.get(name, Stage(seconds=0, cpu_seconds=0))
            self._stages[name] = Stage(
                seconds=round(before.seconds + time.monotonic() - began, 3),
                cpu_seconds=round(before.cpu_seconds + _cpu_seconds() - cpu, 3),
            )

    @property
    def seconds(self) -> float:
        """Since the meter was made."""
        return round(time.monotonic() - self._began, 3)

    @property
    def cpu_seconds(self) -> float:
        """Of all threads and of children that were waited for, since the meter was made."""
        return round(_cpu_seconds() - self._cpu, 3)

    @property
    def stages(self) -> dict[str, Stage]:
        """What each stage has taken so far."""
        return dict(self._stages)


def _cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _forget_peak() -> None:
    """Let the kernel's high-water mark of our memory begin anew: several builds may share a process."""
    with contextlib.suppress(OSError):
        (_SELF / "clear_refs").write_text("5", encoding="ascii")


def peak_memory_bytes() -> int:
    """The largest resident size since the last `Meter` was made (on Linux; elsewhere since the process began)."""
    with contextlib.suppress(OSError):
        for line in (_SELF / "status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def this_machine(device: str = "cpu") -> Machine:
    """Where this process runs; cores are those that it may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(cores=usable, architecture=platform.machine() or "unknown", device=device)


async def append(settings: KafkaSettings, record: ModelBuild) -> None:
    """Write a record; returns once the broker has it. Raises aiokafka's KafkaError."""
    client = producer(settings)
    await client.start()
    try:
        await client.send_and_wait(MODEL_BUILDS.name, record.log_value(), key=record.arm.encode())
    finally:
        await client.stop()


async def read_builds(settings: KafkaSettings) -> list[ModelBuild]:
    """All builds and switches, the oldest first. A record that cannot be read is passed over.

    Raises LookupError without the topic, NewerSchema.
    """
    found: list[ModelBuild] = []
    async for batch in read_to_end(settings, MODEL_BUILDS.name):
        for record in batch:
            with contextlib.suppress(ValidationError):
                found.append(BUILD_VERSIONS.read(record.value or b""))
    return found


def live_before(builds: Sequence[ModelBuild], arm: str, live: str | None) -> str | None:
    """The version that an arm goes back to from `live`; None where no record tells.

    Going back takes the last step from the way, so going back twice leads to the version before that one, not forth.
    """
    way: list[str] = []
    for build in builds:
        if build.arm == arm and build.went_live and build.version is not None:
            _step(way, build.version, build.replaced, back=build.outcome == "rolled back")
    if live in way:
        del way[len(way) - 1 - way[::-1].index(live) :]
    return next((version for version in reversed(way) if version != live), None)


def candidates(builds: Sequence[ModelBuild], arm: str) -> set[str]:
    """The versions of an arm that were built and never went live: they are kept until they are pruned."""
    of_arm = [build for build in builds if build.arm == arm and build.version is not None]
    live = {build.version for build in of_arm if build.went_live}
    return {str(build.version) for build in of_arm if build.outcome == "built" and build.version not in live}


def _step(way: list[str], version: str, replaced: str | None, *, back: bool) -> None:
    if back and version in way:
        del way[way.index(version) + 1 :]
        return
    way += [step for step in (replaced, version) if step is not None and (not way or way[-1] != step)]
