"""The identity in every /readyz: service, installation and process.

Another program may answer 200 on a port of ours, and so may another installation. A check of readiness
compares these three, so that "ready" means this process of this installation.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from services.common.settings import Settings

# A clock that was set may shift what the system says of a start.
_START_SECONDS: Final = 1.0


@dataclass(frozen=True)
class ProcessIdentity:
    """A process of ours.

    Attributes:
        service: `gateway`, `profiles`, `warehouse`, `recommender`, `watch` or `probe`.
        installation: what `animusic run` named it (ANIMUSIC_INSTALLATION); "" in a cluster that names none.
        pid: its process id; None where it is not known.
    """

    service: str
    installation: str = ""
    pid: int | None = None

    @classmethod
    def of(cls, service: str, settings: Settings) -> "ProcessIdentity":
        """The identity of this process."""
        return cls(service, settings.installation, os.getpid())

    def as_dict(self) -> dict[str, Any]:
        """For the body of /readyz."""
        return asdict(self)

    def differs(self, body: Mapping[str, Any]) -> str | None:
        """Why an answer is not of this process, or None. What is not known here ("" or None) is not compared."""
        service = body.get("service")
        if not isinstance(service, str):
            return "another program answers there: it names no service of AniMusic"
        if service != self.service:
            return f"another service answers there: {service}"
        if self.installation and body.get("installation") != self.installation:
            return "another installation of AniMusic answers there"
        if self.pid is not None and body.get("pid") != self.pid:
            return f"another process answers there: {body.get('pid')} instead of {self.pid}"
        return None


def is_alive(pid: int | None, started: float | None) -> bool:
    """Whether the process that had this id at that start runs: ids are given to others again. No start: any will do."""
    # Imported here: most processes never ask.
    import psutil

    if pid is None:
        return False
    try:
        process = psutil.Process(pid)
        same = started is None or abs(process.create_time() - started) <= _START_SECONDS
        return same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
