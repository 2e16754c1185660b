"""Collects the state of every part within five seconds, in parallel, each with a deadline."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio.lowlevel
from aiokafka import TopicPartition
from redis.asyncio import Redis

from contracts.marks import MarkName
from contracts.models import LiveModel
from model_jobs.live import live_models
from services.common.process.clock import now_ms
from services.common.settings import Settings
from services.operator.findings import placed
from services.operator.readers.clickhouse import ClickhouseReader
from services.operator.readers.log import offsets, timestamps
from services.operator.readers.redis import ProfilesReader
from services.operator.status import machine, stores
from services.operator.status.arms import unserved
from services.operator.status.judging import Limits, code_of, judge
from services.operator.status.model import ClickhouseHealth, Lag, LogHealth, Process, RedisHealth, Status
from services.operator.status.stores import FOLLOWED, Sample, committed, lags

R = TypeVar("R")
# Of a look: by when the parts have answered, what follows from the log was read, and the rest came.
_PARTS_SECONDS: Final = 3.0
_CONTENTS_SECONDS: Final = 3.4
_ALL_SECONDS: Final = 4.2
# Between the two samples of a single look.
_APART_SECONDS: Final = 0.5
_TOPICS: Final = sorted({topic for followed in FOLLOWED.values() for topic in followed})


class StatusCollector:
    """Collects the state of one installation. `supervisor` reads status.json; empty where there is none."""

    def __init__(self, settings: Settings, limits: Limits, supervisor: Callable[[], dict[str, Any]]) -> None:
        self._settings = settings
        self._kafka = settings.kafka
        self._limits = limits
        self._supervisor = supervisor
        self._groups = {"profiles": settings.profiles.group, "warehouse": settings.warehouse.group}
        # When this look began; the newest sample, and the one before, which make rates.
        self._began = 0.0
        self._sample: Sample | None = None
        self._before: Sample | None = None

    async def collect(self) -> Status:
        """The state now. A part that does not answer is a finding; it raises nothing."""
        # httpx imports modules at its first request, which would look like a slow answer.
        await anyio.lowlevel.checkpoint()
        self._began, self._before = asyncio.get_running_loop().time(), self._sample
        seconds, url = _PARTS_SECONDS, self._settings.redis.url
        async with (
            aclosing(Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds)) as redis,
            aclosing(ClickhouseReader(self._settings.clickhouse, seconds)) as warehouse,
        ):
            status = await self._status(redis, warehouse, self._supervisor())
        if status.idle:
            status = replace(status, machine=list(await asyncio.to_thread(machine.before_start, self._settings)))
        findings = placed(judge(status, self._limits), self._settings.data_dir)
        return replace(status, findings=findings, code=code_of(findings))

    async def _status(self, redis: Redis, warehouse: ClickhouseReader, supervisor: dict[str, Any]) -> Status:
        """The state, without findings."""
        (log, live), store, clickhouse, services, disk, _ = await asyncio.gather(
            self._log(supervisor),
            self._health_or_trouble(RedisHealth, stores.redis_health(redis)),
            self._health_or_trouble(ClickhouseHealth, stores.clickhouse_health(warehouse, self._limits.hours)),
            machine.services(machine.addresses(self._settings, supervisor), _PARTS_SECONDS),
            asyncio.to_thread(machine.disk, self._settings.data_dir),
            self._take_samples(redis, warehouse),
        )
        found: list[Lag] = []
        if self._sample is not None and not log.trouble:
            log = replace(log, records=self._sample.log.records)
            found = await self._lags(self._sample)
        unserved_arms = await asyncio.to_thread(unserved, self._settings, live, services)
        processes = machine.processes(supervisor)
        store = _own_redis(store, processes)
        return Status(now_ms(), log, store, clickhouse, services, disk, processes, found, unserved_arms)

    async def _log(self, supervisor: dict[str, Any]) -> tuple[LogHealth, dict[str, LiveModel]]:
        """The health of Kafka, and the live models."""
        health, dead, number, live = await asyncio.gather(
            self._health_or_trouble(LogHealth, stores.log_health(self._kafka)),
            self._or_none(stores.dead_letters(self._kafka, self._limits.hours)),
            self._or_none(stores.dead_letters_at_most(self._kafka)),
            self._or_none(live_models(self._kafka)),
        )
        versions = None if live is None else {arm: model.version for arm, model in live.items()}
        health = _own_log(health, self._settings.data_dir, supervisor)
        return replace(health, dead_letters=dead or number or health.dead_letters, models=versions), live or {}

    # ---- lags -------------------------------------------------------------------------------------------------------

    async def _take_samples(self, redis: Redis, warehouse: ClickhouseReader) -> None:
        """Take a sample; the first call takes two."""
        self._sample = await self._sampled(redis, warehouse)
        if self._before is None and self._sample is not None:
            self._before = self._sample
            await asyncio.sleep(_APART_SECONDS)
            self._sample = await self._sampled(redis, warehouse) or self._sample

    async def _sampled(self, redis: Redis, warehouse: ClickhouseReader) -> Sample | None:
        log = await self._or_none(offsets(self._kafka, _TOPICS))
        if log is None:
            return None

        async def profiles() -> dict[MarkName, int]:
            return await (await ProfilesReader.live(redis)).marks(log)

        stores = {"profiles": profiles(), "warehouse": warehouse.marks()}
        found = await asyncio.gather(*(self._or_none(asked) for asked in stores.values()))
        return Sample(log, {name: marks for name, marks in zip(stores, found, strict=True) if marks is not None})

    async def _lags(self, sample: Sample) -> list[Lag]:
        left = max(0.0, self._began + _ALL_SECONDS - asyncio.get_running_loop().time())
        behind: dict[str, dict[TopicPartition, int]] = {store: {} for store in self._groups}
        for lag in lags(sample, self._groups):
            if lag.lag:
                behind[lag.store][TopicPartition(lag.topic, lag.partition)] = lag.mark or 0
        committed_offsets, *times = await asyncio.gather(
            self._or_none(committed(self._kafka, self._groups), _ALL_SECONDS),
            *(self._or_none(timestamps(self._kafka, marks, left), _ALL_SECONDS + 0.2) for marks in behind.values()),
        )
        oldest = {store: found or {} for store, found in zip(behind, times, strict=True)}
        before = self._before if self._before is not sample else None
        return lags(sample, self._groups, before=before, committed=committed_offsets, timestamps=oldest, now=now_ms())

    # ---- deadlines --------------------------------------------------------------------------------------------------

    async def _health_or_trouble(self, kind: Callable[..., R], asking: Coroutine[Any, Any, R]) -> R:
        """The result, or an empty one whose `trouble` says why there is none."""
        try:
            async with asyncio.timeout_at(self._began + _PARTS_SECONDS):
                return await asking
        except TimeoutError:
            return kind(trouble=f"no answer within {_PARTS_SECONDS:g} s")
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a part is what this command is asked for
            return kind(trouble=f"{type(error).__name__}: {error}".splitlines()[0])

    async def _or_none(self, asking: Coroutine[Any, Any, R], by: float = _CONTENTS_SECONDS) -> R | None:
        """The result by this deadline, else None: the part's own finding says why."""
        try:
            async with asyncio.timeout_at(self._began + by):
                return await asking
        except Exception:  # noqa: BLE001 - as above
            return None


def _own_log(health: LogHealth, data_dir: Path, supervisor: dict[str, Any]) -> LogHealth:
    """The same, with a trouble when another Kafka than the supervisor's answers at its address."""
    kept = data_dir / "kafka" / "cluster-id"
    if health.trouble or not health.cluster or "kafka" not in supervisor.get("parts", {}) or not kept.is_file():
        return health
    if health.cluster == kept.read_text(encoding="utf-8").strip():
        return health
    return LogHealth(trouble=f"another Kafka answers at its address (cluster {health.cluster})")


def _own_redis(health: RedisHealth, processes: list[Process]) -> RedisHealth:
    """The same, with a trouble when another process than the supervisor's Valkey answers at its address."""
    valkey = next((process for process in processes if process.name == "valkey"), None)
    if health.trouble or not health.pid or valkey is None or health.pid == valkey.pid:
        return health
    return RedisHealth(trouble=f"another Valkey answers at its address (process {health.pid})")
