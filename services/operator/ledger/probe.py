"""The composition root of `animusic serve probe`: counts the topic, measures freshness, and exports both as metrics."""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final

import httpx
from aiokafka.errors import KafkaError
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from redis.exceptions import RedisError

from contracts.ledger import Round
from contracts.tokens import Signer
from services.common.http.server import HealthServer
from services.common.process.identity import ProcessIdentity
from services.common.redis import connect
from services.common.settings import Settings
from services.operator.ledger.counting import NotYet, TopicCounter
from services.operator.ledger.entries import COUNTS, Ledger, read_ledger
from services.operator.ledger.listener import SyntheticListener
from services.operator.readers.clickhouse import ClickhouseReader

log = logging.getLogger("animusic.probe")

OUTAGES: Final = (KafkaError, RedisError, httpx.HTTPError, ConnectionError, LookupError, ValueError, NotYet)
_SQL_SECONDS: Final = 30.0
_AUDIT_SECONDS: Final = 30.0
# An audit may take a twentieth of the time at most.
_AUDIT_SHARE: Final = 20.0
_AUDITED_HOURS: Final = 2
_UNWELL_SECONDS: Final = 60.0
# Of a leg, in seconds.
_BUCKETS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_LEGS: Final = ("accepted", "profile", "playlist", "warehouse")


class ProbeMetrics:
    """Names begin with `animusic_ledger_` and `animusic_probe_`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # The columns of the view `ledger`, summed over this hour and the one before.
        self._events = Gauge("animusic_ledger_events", "ids, this hour and the last", ["kind"], registry=registry)
        self._ppm = Gauge("animusic_ledger_ppm", "of a million: loss, duplicates", ["kind"], registry=registry)
        # Must be 0: ids that count more than once after the fold.
        self._doubled = Gauge("animusic_ledger_doubled", "ids doubled after the fold", registry=registry)
        self.counted = Counter("animusic_ledger_counted", "records read in the topic", registry=registry)
        # Like -> 202, then 202 -> profile, playlist, row in ClickHouse.
        self._legs = Histogram(
            "animusic_probe_leg", "seconds of a leg", ["leg"], unit="seconds", buckets=_BUCKETS, registry=registry
        )
        self._rounds = Counter("animusic_probe_rounds", "rounds by outcome", ["outcome"], registry=registry)
        self.failures = Counter("animusic_probe_failures", "turns that failed, by task", ["task"], registry=registry)

    def set_ledger(self, ledger: Ledger) -> None:
        """The ledger as gauges."""
        total = ledger.total()
        for kind in COUNTS:
            self._events.labels(kind).set(getattr(total, kind))
        self._ppm.labels("loss").set(total.loss_ppm)
        self._ppm.labels("duplicates").set(total.duplicates_ppm)
        self._doubled.set(ledger.doubled)

    def record_round(self, found: Round) -> None:
        """A round of the synthetic listener."""
        self._rounds.labels("ok" if found.trouble is None else "trouble").inc()
        for leg in _LEGS:
            if (took := getattr(found, f"{leg}_ms")) is not None:
                self._legs.labels(leg).observe(took / 1_000)


class Probe:
    """Three concurrent tasks: count, audit, listen. A task that fails runs again at its next turn."""

    def __init__(self, settings: Settings) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.metrics = ProbeMetrics(self.registry)
        self._settings = settings
        self._warehouse = ClickhouseReader(settings.clickhouse, _SQL_SECONDS)
        self._redis = connect(settings.redis)
        self.counter = TopicCounter(settings, self._warehouse, self._redis)
        self.listener = SyntheticListener(gateway_url(settings), Signer(settings.signing_key()), self._warehouse)
        self._last_ok: float | None = None
        # The last trouble of each task: logged once, not every second.
        self._troubles: dict[str, str] = {}

    async def run(self) -> None:
        """Until cancelled."""
        probe = self._settings.probe
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat("count", self.count, lambda took: probe.count_every_seconds))
            tasks.create_task(self._repeat("audit", self.audit, lambda took: max(_AUDIT_SECONDS, _AUDIT_SHARE * took)))
            tasks.create_task(self._repeat("listen", self.listen, lambda took: max(0.0, probe.every_seconds - took)))

    async def close(self) -> None:
        """Close every connection."""
        await self.listener.close()
        await self.counter.close()
        await self._warehouse.aclose()
        await self._redis.aclose()

    async def count(self) -> None:
        """Count what is new in the topic."""
        self.metrics.counted.inc(await self.counter.count())

    async def audit(self) -> Ledger:
        """Read the ledger of the last hours and show it as metrics."""
        ledger = await read_ledger(self._warehouse, _AUDITED_HOURS)
        self.metrics.set_ledger(ledger)
        for finding in ledger.findings:
            if finding.state == "fail":
                log.error("%s: %s; %s", finding.name, finding.detail, finding.remedy)
        return ledger

    async def listen(self) -> Round:
        """One round of the synthetic listener, measured and appended to the ledger."""
        found = await self.listener.round()
        self.metrics.record_round(found)
        if found.trouble is None:
            self._last_ok = time.monotonic()
        self._note("listen", found.trouble)
        await self.counter.append(found.log_value())
        return found

    def not_ready(self) -> str | None:
        """Why freshness is not what it should be: no round has ended well for a minute, or ever."""
        if self._last_ok is not None and time.monotonic() - self._last_ok < _UNWELL_SECONDS:
            return None
        since = "has ended well yet" if self._last_ok is None else "ended well for a minute"
        return f"no round of the synthetic listener {since}: {self._troubles.get('listen', 'starting')}"

    def _note(self, name: str, trouble: str | None) -> None:
        if trouble is None:
            if self._troubles.pop(name, None) is not None:
                log.info("%s: recovered", name)
        elif self._troubles.get(name) != trouble:
            self._troubles[name] = trouble
            log.warning("%s: %s", name, trouble)

    async def _repeat(self, name: str, turn: Callable[[], Awaitable[object]], pause: Callable[[float], float]) -> None:
        while True:
            started = time.monotonic()
            try:
                await turn()
            except OUTAGES as error:
                self.metrics.failures.labels(name).inc()
                self._note(name, str(error) or type(error).__name__)
            else:
                if name != "listen":
                    self._note(name, None)
            await asyncio.sleep(pause(time.monotonic() - started))


def gateway_url(settings: Settings) -> str:
    """Where the listener asks."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return settings.probe.gateway_url or f"http://{host}:{settings.port}"


async def serve(settings: Settings) -> None:
    """Probe until SIGTERM or SIGINT.

    Raises CannotListen when the port is taken, ValueError without a usable signing key.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)
    probe = Probe(settings)
    health = HealthServer(ProcessIdentity.of("probe", settings), probe.not_ready, probe.registry)
    port = await health.start(settings.probe.port, "ANIMUSIC_PROBE__PORT", settings.probe.host)
    log.info("health and metrics on http://%s:%d", settings.probe.host, port)
    task = asyncio.create_task(probe.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        await probe.close()
        await health.close()
