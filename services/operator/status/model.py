"""The result of `animusic status`; `--json` prints exactly this.

A part that did not answer has `trouble`, a sentence; its other fields are then empty.
"""

from dataclasses import dataclass, field
from typing import Final

from services.operator.findings import Finding

# The detail of a service that does not answer begins so.
SILENT: Final = "does not answer"


@dataclass(frozen=True)
class Lag:
    """How far a store is in one partition of the log.

    Attributes:
        store: `profiles` (Redis) or `warehouse` (ClickHouse); `group`: its consumer group in Kafka.
        mark: offset of the next record as the store says, which is the truth; None where it has nothing of it.
        committed: the offset committed to Kafka, for other tools; it may be behind. None where nothing is committed.
        lag: records between the mark and the end.
        incoming, handled: records a second, of the log and of the store, between two looks; None with one look only.
        oldest_seconds: how long ago the oldest unhandled record was written; None without lag or where it is unknown.
    """

    store: str
    group: str
    topic: str
    partition: int
    end: int
    mark: int | None
    committed: int | None
    lag: int
    incoming: float | None = None
    handled: float | None = None
    oldest_seconds: float | None = None


@dataclass(frozen=True)
class DeadLetters:
    """The dead letters: in all, the open ones, those of them from the last day, and the last reason."""

    total: int = 0
    open: int = 0
    new: int = 0
    last_reason: str = ""


@dataclass(frozen=True)
class LogHealth:
    """Kafka. `leaderless` and `under_replicated` are `topic/partition`; `missing` are topics of ours.

    `models`: arm -> the version that is live; None where that could not be read in time.
    """

    trouble: str = ""
    cluster: str = ""
    brokers: int = 0
    topics: int = 0
    records: int = 0
    missing: list[str] = field(default_factory=list)
    leaderless: list[str] = field(default_factory=list)
    under_replicated: list[str] = field(default_factory=list)
    dead_letters: DeadLetters = field(default_factory=DeadLetters)
    models: dict[str, str] | None = None


@dataclass(frozen=True)
class RedisHealth:
    """The store of profiles. `rebuild`: who rebuilds them and how far that is, in words; "" without a rebuild."""

    trouble: str = ""
    version: str = ""
    pid: int = 0
    generation: str = ""
    used_bytes: int = 0
    limit_bytes: int = 0
    policy: str = ""
    append_only: bool = False
    loading: bool = False
    failing: list[str] = field(default_factory=list)
    rebuild: str = ""


@dataclass(frozen=True)
class Gaps:
    """Records that the log had lost before they came to the warehouse: in all, and of the last day."""

    noted: int = 0
    records: int = 0
    new: int = 0
    last: str = ""


@dataclass(frozen=True)
class ClickhouseHealth:
    """The warehouse. `most_parts`: of the table that has most of them."""

    trouble: str = ""
    version: str = ""
    rows: int = 0
    parts: int = 0
    most_parts: int = 0
    bytes_on_disk: int = 0
    gaps: Gaps = field(default_factory=Gaps)


@dataclass(frozen=True)
class ServiceHealth:
    """One process of ours, by its own words where nothing else is said. `gaps`: since its start.

    `behind`: what it follows of the log -> records that it lacks; empty where it follows nothing.
    `rebuild`: what a rebuild of its store does and how far it is; "" without one.
    `stranger`: why the answer is not of this process of this installation; "" when it is.
    `left_out`: of a recommender, arm -> why it serves no version; `old`: arm -> why it serves the version before.
    `songs`: of a recommender, how many its catalogue has; None where it does not say.
    """

    name: str
    url: str
    ready: bool
    detail: str
    gaps: int = 0
    behind: dict[str, int] = field(default_factory=dict)
    rebuild: str = ""
    stranger: str = ""
    left_out: dict[str, str] = field(default_factory=dict)
    old: dict[str, str] = field(default_factory=dict)
    songs: int | None = None


@dataclass(frozen=True)
class Disk:
    """The data directory: bytes by part, and what the file system has left."""

    path: str
    trouble: str = ""
    used: dict[str, int] = field(default_factory=dict)
    free: int = 0
    size: int = 0


@dataclass(frozen=True)
class Process:
    """A child of the local supervisor, as `status.json` says.

    `trouble`: why it is not ready; "" when it is. `seconds`: since its start; None where it is unknown.
    """

    name: str
    state: str
    pid: int | None
    restarts: int
    alive: bool
    trouble: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Status:
    """One look. `at_ms`: when; `code`: 0 healthy, 1 degraded, 2 broken; `unserved`: live arms that are not served.

    `machine`: what a start needs of this machine, looked at where nothing runs; empty where something does.
    """

    at_ms: int
    log: LogHealth
    redis: RedisHealth
    clickhouse: ClickhouseHealth
    services: list[ServiceHealth]
    disk: Disk
    processes: list[Process]
    lags: list[Lag]
    unserved: list[Finding] = field(default_factory=list)
    machine: list[Finding] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    code: int = 0

    @property
    def idle(self) -> bool:
        """Whether nothing runs: no part answers, and no process of a supervisor lives."""
        stores = self.log.trouble and self.redis.trouble and self.clickhouse.trouble
        silent = all(service.detail.startswith(SILENT) for service in self.services)
        return bool(stores) and silent and not any(process.alive for process in self.processes)
