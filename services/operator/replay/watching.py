"""How far a rebuild is, for whoever watches it."""

import logging
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from services.operator.replay.job import Report
from services.operator.replay.lease import Lease
from services.operator.replay.planning import Plan

Phase = Literal["profiles.v1", "reading", "catching up", "comparing", "handing over"]
_RATE_SECONDS = 5.0
_LOG_SECONDS = 5.0


class Progress(NamedTuple):
    """A moment of a rebuild.

    Attributes:
        done, total: records, or shards while comparing.
        per_second: records of the last seconds; 0 while comparing.
        behind: records of the log that are not in the generation yet.
        seconds_left: None when nobody knows.
        memory: resident bytes of all workers.
    """

    phase: str
    done: int
    total: int
    per_second: float = 0.0
    behind: int = 0
    seconds_left: float | None = None
    memory: int = 0


class Watch:
    """Turns reports into progress, for a callback, the lease (so `status` sees it) and the log."""

    def __init__(self, tell: Callable[[Progress], None], lease: Lease) -> None:
        self._tell = tell
        self._lease = lease
        self._phase: Phase = "reading"
        self._total = 0
        self._seen: list[tuple[float, int]] = []
        self._logged_at = time.monotonic()
        self._log = logging.getLogger("animusic.replay")

    def enter(self, phase: Phase, total: int) -> None:
        """A new phase begins."""
        self._phase, self._total = phase, total
        self._lease.doing = phase
        self._log.info("%s", phase)
        self._tell(Progress(phase, 0, total))

    def advance(self, done: int) -> None:
        """So many steps of the phase are done."""
        self._lease.doing = f"{self._phase}: {done} of {self._total}"
        self._tell(Progress(self._phase, done, self._total))

    def look(self, report: Report, plan: Plan) -> None:
        """Take in what the workers say. Told is what was read: it is in the store within a hold of that."""
        known = [p for p in plan.partitions if p.field in report.read]
        behind = sum(max(0, (p.until or max(p.end, report.ends[p.field])) - report.read[p.field]) for p in known) + sum(
            p.size for p in plan.partitions if p.field not in report.read
        )
        per_second = self._rate(report.records)
        left = behind / per_second if per_second else None
        done = max(0, self._total - behind)
        self._lease.doing = f"{self._phase}: {behind} records behind, {per_second:.0f} records/s"
        self._tell(Progress(self._phase, done, self._total, per_second, behind, left, report.memory))
        now = time.monotonic()
        if now - self._logged_at > _LOG_SECONDS:
            self._logged_at = now
            self._log.info("%s", self._lease.doing)

    def _rate(self, records: int) -> float:
        now = time.monotonic()
        self._seen = [(at, count) for at, count in self._seen if now - at < _RATE_SECONDS]
        self._seen.append((now, records))
        first_at, first = self._seen[0]
        return (records - first) / (now - first_at) if now > first_at else 0.0
