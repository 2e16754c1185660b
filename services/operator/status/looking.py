"""One look at everything, within five seconds whatever is down: parts are asked at once, each with a deadline."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio.lowlevel

from contracts.models import LiveModel
from services.common.clock import now_ms
from services.common.settings import Settings
from services.operator.findings import placed
from services.operator.status import log as kafka
from services.operator.status import machine
from services.operator.status.arms import unserved
from services.operator.status.judging import Limits, code_of, judge
from services.operator.status.model import ClickhouseHealth, Lag, LogHealth, Process, RedisHealth, Status
from services.operator.status.sampling import (
    FOLLOWED,
    Sample,
    committed,
    groups,
    lags,
    sample_log,
    with_ages,
    with_committed,
    with_rates,
)
from services.operator.status.stores import ClickhouseProbe, RedisProbe

R = TypeVar("R")
# Of a look: by when the parts have answered, what follows from the log was read, and the rest came.
_PARTS_SECONDS: Final = 2.0
_CONTENTS_SECONDS: Final = 3.0
_ALL_SECONDS: Final = 4.2
# Between the two samples of a single look.
_APART_SECONDS: Final = 0.5
Supervisor = Callable[[], dict[str, Any]]


class Looker:
    """Looks at one installation again and again. `supervisor` reads status.json; empty where there is none."""

    def __init__(self, settings: Settings, limits: Limits, supervisor: Supervisor) -> None:
        self._settings = settings
        self._limits = limits
        self._supervisor = supervisor
        self._before: Sample | None = None

    async def look(self) -> Status:
        """What is found now; parts that do not answer are findings, and nothing is raised for them."""
        # What httpx imports at its first question would be taken for a slow answer.
        await anyio.lowlevel.checkpoint()
        look = _Look(self._settings, self._limits, self._before)
        try:
            status = await look.status(self._supervisor())
        finally:
            await look.close()
        self._before = look.sample
        findings = placed(judge(status, self._limits), self._settings.data_dir)
        return replace(status, findings=findings, code=code_of(findings))


class _Look:
    """One look: its connections and its deadlines. `sample`: the newest; beside `before` it makes rates."""

    def __init__(self, settings: Settings, limits: Limits, before: Sample | None) -> None:
        self._settings = settings
        self._limits = limits
        self._before = before
        self._redis = RedisProbe(settings.redis, _PARTS_SECONDS)
        self._clickhouse = ClickhouseProbe(settings.clickhouse, _PARTS_SECONDS)
        self._began = asyncio.get_running_loop().time()
        self.sample: Sample | None = None

    async def close(self) -> None:
        """Let go of the connections."""
        await asyncio.gather(self._redis.aclose(), self._clickhouse.aclose())

    async def status(self, supervisor: dict[str, Any]) -> Status:
        """What is found, not judged yet."""
        urls = machine.addresses(self._settings, supervisor)
        (log, live), redis, clickhouse, services, disk, _ = await asyncio.gather(
            self._log(supervisor),
            self._or(RedisHealth, self._redis.health()),
            self._or(ClickhouseHealth, self._clickhouse.health(self._limits.hours)),
            machine.services(urls, _PARTS_SECONDS, machine.expected(supervisor)),
            asyncio.to_thread(machine.disk, self._settings.data_dir),
            self._take_samples(),
        )
        found: list[Lag] = []
        if self.sample is not None and not log.trouble:
            log = replace(log, records=self.sample.log.records)
            found = await self._lags(self.sample)
        away = await asyncio.to_thread(unserved, self._settings, live, services)
        processes = machine.processes(supervisor)
        redis = _own_redis(redis, processes)
        return Status(now_ms(), log, redis, clickhouse, services, disk, processes, found, away)

    async def _log(self, supervisor: dict[str, Any]) -> tuple[LogHealth, dict[str, LiveModel]]:
        """How Kafka is, and the models that it says are live."""
        kafka_settings = self._settings.kafka
        health, letters, number, models = await asyncio.gather(
            self._or(LogHealth, kafka.brokers_and_topics(kafka_settings)),
            self._none(kafka.letters(kafka_settings, self._limits.hours), _CONTENTS_SECONDS),
            self._none(kafka.letters_at_most(kafka_settings), _CONTENTS_SECONDS),
            self._none(kafka.live_models(kafka_settings), _CONTENTS_SECONDS),
        )
        live = models or {}
        versions = {arm: model.version for arm, model in live.items()}
        health = _own_log(health, self._settings.data_dir, supervisor)
        return replace(health, letters=letters or number or health.letters, models=versions), live

    # ---- lags -------------------------------------------------------------------------------------------------------

    async def _take_samples(self) -> None:
        """A sample of now; the first look of all takes two."""
        self.sample = await self._sample()
        if self._before is None and self.sample is not None:
            self._before = self.sample
            await asyncio.sleep(_APART_SECONDS)
            self.sample = await self._sample() or self.sample

    async def _sample(self) -> Sample | None:
        topics = sorted({topic for followed in FOLLOWED.values() for topic in followed})
        log = await self._none(sample_log(self._settings.kafka, topics), _CONTENTS_SECONDS)
        if log is None:
            return None
        stores = (self._redis.marks(log), self._clickhouse.marks())
        profiles, warehouse = await asyncio.gather(*(self._none(asked, _CONTENTS_SECONDS) for asked in stores))
        marks = {"profiles": profiles, "warehouse": warehouse}
        return Sample(log, {store: found for store, found in marks.items() if found is not None})

    async def _lags(self, sample: Sample) -> list[Lag]:
        found = lags(sample, groups(self._settings))
        if self._before is not None and self._before is not sample:
            found = with_rates(found, self._before, sample)
        told, times = await asyncio.gather(
            self._none(committed(self._settings), _ALL_SECONDS),
            self._none(kafka.times(self._settings.kafka, found, self._left(_ALL_SECONDS)), _ALL_SECONDS + 0.2),
        )
        return with_ages(with_committed(found, told or {}), times or {}, now_ms())

    # ---- deadlines --------------------------------------------------------------------------------------------------

    def _left(self, by: float) -> float:
        return max(0.0, self._began + by - asyncio.get_running_loop().time())

    async def _or(self, kind: Callable[..., R], asking: Coroutine[Any, Any, R]) -> R:
        """What is answered, or an empty one that says why there is no answer."""
        try:
            async with asyncio.timeout_at(self._began + _PARTS_SECONDS):
                return await asking
        except TimeoutError:
            return kind(trouble=f"no answer within {_PARTS_SECONDS:g} s")
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a part is what this command is asked for
            return kind(trouble=f"{type(error).__name__}: {error}".splitlines()[0])

    async def _none(self, asking: Coroutine[Any, Any, R], by: float) -> R | None:
        """What is answered by then, else None: the part's own finding says why."""
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
