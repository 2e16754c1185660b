"""A disk that can be filled up and freed again under a running system.

Where a file system may be mounted it is a small one in memory, and "full" is what a full disk is. Elsewhere the
processes are forbidden to make any file longer, which they see as a write error too.
"""

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psutil

from tests.support.system import System

_CHUNK = 1 << 20


class SmallDisk(Protocol):
    """What can be done to the disk of a system."""

    def fill(self, system: System) -> None:
        """Leave no room."""

    def free(self, system: System) -> None:
        """Give it all back."""


class Mounted:
    """A file system of its own, with a file of ballast."""

    def __init__(self, directory: Path) -> None:
        self._ballast = directory / "ballast"

    def fill(self, system: System) -> None:
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            for size in (_CHUNK, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"\0" * size) == size:
                        pass

    def free(self, system: System) -> None:
        self._ballast.unlink()


class Limited:
    """The processes' own limit on the length of a file; children inherit it from the supervisor."""

    def fill(self, system: System) -> None:
        self._limit(system, 1)

    def free(self, system: System) -> None:
        self._limit(system, resource.RLIM_INFINITY)

    def _limit(self, system: System, most: int) -> None:
        for process in system.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                _, hard = process.rlimit(psutil.RLIMIT_FSIZE)
                process.rlimit(psutil.RLIMIT_FSIZE, (most, hard))


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[SmallDisk]:
    """A disk of this size at `directory`, which is made."""
    directory.mkdir(parents=True)
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    mounted = _ran(*sudo, "mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=1777", "tmpfs", str(directory))
    try:
        yield Mounted(directory) if mounted else Limited()
    finally:
        if mounted:
            _ran(*sudo, "umount", "--lazy", str(directory))


def _ran(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True).returncode == 0
