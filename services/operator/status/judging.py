"""From the state of the parts to findings: what is wrong and what to do. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from services.operator.findings import Finding, State
from services.operator.status.model import (
    ClickhouseHealth,
    Disk,
    Lag,
    LogHealth,
    Process,
    RedisHealth,
    Status,
)

HEALTHY, DEGRADED, BROKEN = 0, 1, 2
LOW_DISK_BYTES: Final = 2 << 30
PAGE: Final = "docs/runbook/is-it-healthy.md"
_CODES: Final[dict[State, int]] = {"ok": HEALTHY, "warn": DEGRADED, "fail": BROKEN}
# ClickHouse slows inserts down at 1,000 parts of a partition and refuses them at 3,000.
_MANY_PARTS: Final = 500
_FULL: Final = 0.9
_STARTING_SECONDS: Final = 60.0
_PORT_OF: Final = {
    "profiles": "ANIMUSIC_PROFILES__METRICS_PORT",
    "warehouse": "ANIMUSIC_WAREHOUSE__PORT",
    "recommender": "ANIMUSIC_RECOMMENDER__PORT",
    "watch": "ANIMUSIC_MODELS__WATCH_PORT",
    "probe": "ANIMUSIC_PROBE__PORT",
}


@dataclass(frozen=True)
class Limits:
    """From where on something is a finding: records of lag, seconds of age, and the hours in which news are new."""

    lag: int = 10_000
    oldest_seconds: float = 60.0
    hours: int = 24


def judge(status: Status, limits: Limits) -> list[Finding]:
    """All findings, the worst first."""
    if status.idle:
        detail = f"nothing runs on the data directory {status.disk.path}, and no part answers where the settings say"
        remedy = "`make run` starts it; or go to the directory where it was started, or set ANIMUSIC_DATA_DIR"
        bad = [finding for finding in status.machine if finding.state != "ok"]
        found = [_finding("system", "fail", detail, remedy, "nothing-runs"), *bad, *_disk(status.disk)]
    else:
        found = [
            *_log(status.log, limits),
            *_redis(status.redis),
            *_clickhouse(status, limits),
            *_contents(status),
            *_services(status),
            *_arms(status),
            *_lags(status.lags, limits),
            *_disk(status.disk),
            *_processes(status),
        ]
    return sorted(found, key=lambda finding: -_CODES[finding.state])


def code_of(findings: Iterable[Finding]) -> int:
    """0 healthy, 1 degraded, 2 broken."""
    return max((_CODES[finding.state] for finding in findings), default=HEALTHY)


def _finding(name: str, state: State, detail: str, remedy: str, anchor: str) -> Finding:
    return Finding(name, state, detail, remedy, f"{PAGE}#{anchor}")


def _log(log: LogHealth, limits: Limits) -> Iterator[Finding]:
    if log.trouble:
        remedy = "`make run` starts it; look at <data_dir>/logs/kafka.log, or at ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS"
        yield _finding("log", "fail", log.trouble, remedy, "the-log-does-not-answer")
        return
    if log.missing:
        detail = f"topics are missing: {', '.join(log.missing)}"
        yield _finding("log", "fail", detail, "`animusic topics` makes them", "a-topic-is-missing")
    if log.leaderless:
        detail = f"{len(log.leaderless)} partitions have no leader: {_some(log.leaderless)}"
        yield _finding("log", "fail", detail, "start the brokers that are down", "a-broker-is-down")
    if log.under_replicated:
        detail = f"{len(log.under_replicated)} partitions lack a copy: {_some(log.under_replicated)}"
        yield _finding("log", "warn", detail, "start the brokers that are down, or wait", "a-broker-is-down")
    if (dead := log.dead_letters).new:
        detail = f"{dead.new} dead letters in {limits.hours} h, {dead.open} open; {dead.last_reason}"
        yield _finding(
            "dead letters", "warn", detail, "`animusic dlq list`, then redrive or purge them", "dead-letters"
        )


def _redis(store: RedisHealth) -> Iterator[Finding]:
    if store.trouble:
        remedy = "look at <data_dir>/logs/valkey.log, or at ANIMUSIC_REDIS__URL"
        yield _finding("redis", "fail", store.trouble, remedy, "redis-does-not-answer")
        return
    if store.loading:
        yield _finding("redis", "fail", "it is still loading its file", "wait", "redis-does-not-answer")
    if store.policy != "noeviction":
        remedy = "set maxmemory-policy noeviction: an evicted profile is a wrong profile"
        yield _finding("redis", "warn", f"it may evict profiles ({store.policy})", remedy, "redis-is-full")
    if store.limit_bytes and store.used_bytes > _FULL * store.limit_bytes:
        detail = f"{store.used_bytes:,} of {store.limit_bytes:,} bytes used"
        yield _finding("redis", "warn", detail, "raise maxmemory, or prune generations", "redis-is-full")
    for name in store.failing:
        remedy = "see its log; most often the disk is full. Nothing is lost: profiles follow from the log"
        yield _finding("redis", "warn", f"{name} is not ok", remedy, "redis-cannot-save")


def _clickhouse(status: Status, limits: Limits) -> Iterator[Finding]:
    store: ClickhouseHealth = status.clickhouse
    if store.trouble:
        # On one machine the engine runs in the warehouse's process: while that starts, nothing is wrong yet.
        if "warehouse" not in _starting(status):
            remedy = "look at <data_dir>/logs/warehouse.log, or at ANIMUSIC_CLICKHOUSE__DSN"
            yield _finding("clickhouse", "fail", store.trouble, remedy, "clickhouse-does-not-answer")
        return
    if store.most_parts > _MANY_PARTS:
        detail = f"{store.most_parts} parts in one table: merges do not keep up"
        yield _finding("clickhouse", "warn", detail, "raise ANIMUSIC_WAREHOUSE__FLUSH_MS", "too-many-parts")
    if store.gaps.new:
        detail = f"{store.gaps.new} gaps in {limits.hours} h, the last: {store.gaps.last}"
        remedy = "records left the log before they were read: restore a backup that has them"
        yield _finding("gaps", "warn", detail, remedy, "recorded-gaps")


def _no_songs(status: Status) -> bool:
    return any(service.songs == 0 for service in status.services if service.ready)


def _contents(status: Status) -> Iterator[Finding]:
    """Whether there are songs and models: without them a healthy system has nothing to recommend."""
    if _no_songs(status):
        remedy = "`animusic catalogue import sample` loads some, or a file of yours; nothing needs to be started again"
        detail = "the catalogue is empty: there is nothing to play"
        yield _finding("songs", "warn", detail, remedy, "there-are-no-songs")
    elif status.log.models == {} and any(service.songs for service in status.services):
        detail = "no model is live: only the arms popular and random pick songs"
        yield _finding("models", "warn", detail, "`animusic models build` builds them", "a-live-arm-is-not-served")


def _services(status: Status) -> Iterator[Finding]:
    starting, no_songs = _starting(status), _no_songs(status)
    for service in status.services:
        if service.stranger:
            setting = _PORT_OF.get(service.name.partition("-")[0], "ANIMUSIC_PORT")
            detail = f"{service.detail}, at {service.url} ({service.stranger})"
            remedy = f"stop that program, or stop AniMusic and start it with another port ({setting})"
            yield _finding(service.name, "fail", detail, remedy, "another-program-answers")
        elif service.ready:
            pass
        elif service.name in starting:
            remedy = f"wait; else look at <data_dir>/logs/{service.name}.log"
            yield _finding(service.name, "warn", f"is starting: {service.detail}", remedy, "a-service-is-not-ready")
        # Without songs the synthetic listener has nothing to like.
        elif not (no_songs and service.name == "probe"):
            remedy = f"look at <data_dir>/logs/{service.name}.log"
            yield _finding(service.name, "fail", service.detail, remedy, "a-service-is-not-ready")
        if service.gaps:
            detail = f"{service.gaps} gaps since its start"
            yield _finding(service.name, "warn", detail, "its log says which offsets", "recorded-gaps")


def _starting(status: Status) -> set[str]:
    """The processes that are starting for the first time; after a minute they most likely will not be ready."""

    def starts(process: Process) -> bool:
        first = process.alive and process.state == "starting" and not process.restarts
        return first and process.seconds is not None and process.seconds < _STARTING_SECONDS

    return {process.name for process in status.processes if starts(process)}


def _arms(status: Status) -> Iterator[Finding]:
    yield from status.unserved
    for arm, why in sorted({arm: why for service in status.services for arm, why in service.old.items()}.items()):
        remedy = f"wait a moment; else `animusic models rollback {arm}` makes what is served live again"
        yield _finding(f"arm {arm}", "warn", f"serves the version before: {why}", remedy, "a-live-arm-is-not-served")


def _lags(lags: list[Lag], limits: Limits) -> Iterator[Finding]:
    groups: dict[tuple[str, str], list[Lag]] = defaultdict(list)
    for lag in lags:
        groups[lag.store, lag.topic].append(lag)
    for (store, topic), held in groups.items():
        behind = sum(lag.lag for lag in held)
        oldest = max((lag.oldest_seconds for lag in held if lag.oldest_seconds is not None), default=0.0)
        if behind > limits.lag or oldest > limits.oldest_seconds:
            detail = f"{behind:,} records of {topic} behind, the oldest {age(oldest)} old"
            remedy = f"see <data_dir>/logs/{store}.log: is it stopped, slow, or catching up?"
            yield _finding(f"{store} lags", "warn", detail, remedy, "something-lags")


def _disk(disk: Disk) -> Iterator[Finding]:
    if not disk.trouble and disk.free < LOW_DISK_BYTES:
        detail = f"{disk.free / 2**30:.1f} GB free below {disk.path}"
        remedy = "free some disk space: with a full disk the gateway answers 503"
        yield _finding("disk", "warn", detail, remedy, "the-disk-fills-up")


def _processes(status: Status) -> Iterator[Finding]:
    services = {service.name for service in status.services}
    # Another program has its port, which is why it has no process.
    replaced = {service.name for service in status.services if service.stranger}
    for process in status.processes:
        if process.name in replaced:
            continue
        if not process.alive:
            detail = f"no process (state {process.state}, {process.restarts} restarts)"
        elif process.name not in services and process.state == "not ready":
            # Kafka and Valkey have no /readyz: the supervisor checks them.
            detail = "it runs and is not ready"
        else:
            continue
        why = f": {process.trouble}" if process.trouble else ""
        remedy = f"the end of <data_dir>/logs/{process.name}.log says why"
        yield _finding(process.name, "fail", f"{detail}{why}", remedy, "a-service-is-not-ready")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def age(seconds: float) -> str:
    """Seconds in a readable unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
