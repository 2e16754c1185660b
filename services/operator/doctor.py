"""What is wrong with this installation, and what to do: every part is asked for real, nothing is started or changed."""

import shutil
import socket
import sys
from contextlib import aclosing
from typing import Any

from contracts.topics import CATALOGUE, FEEDBACK, MODELS
from services.common.kafka import read_to_end, wait_for_broker
from services.common.listening import taken
from services.common.settings import ENDPOINTS_FILE, Settings
from services.operator.findings import Check, Finding, placed, run_checks
from services.operator.status import judging
from services.operator.status import log as kafka
from services.operator.status.looking import Looker
from services.operator.status.model import Disk
from services.operator.status.sampling import sample_log
from services.operator.status.stores import ClickhouseProbe, RedisProbe

_ANSWER_SECONDS = 5.0
# What `status` says of these, the checks above have said.
_ASKED_ABOVE = frozenset({"log", "redis", "clickhouse", "gaps", "disk", "dead letters"})
_START = "start the system with `make run` and look at <data_dir>/logs"


class Doctor:
    """Looks at one installation, given its settings."""

    def __init__(self, settings: Settings, supervisor: dict[str, Any]) -> None:
        """`supervisor`: status.json of a local system; empty where there is none."""
        self._settings = settings
        self._supervisor = supervisor

    async def examine(self) -> list[Finding]:
        """Every finding, from the machine outwards. Parts that do not answer are findings, not errors."""
        checks: list[tuple[str, str, Check]] = [
            ("python", "install Python 3.11 or newer", self._python),
            ("data directory", "choose a directory that you may write to: ANIMUSIC_DATA_DIR", self._data_dir),
            ("public port", "", self._port),
            ("log", f"{_START}/kafka.log, or set ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS", self._log),
            ("songs and models", "the log comes first: see above", self._contents),
            ("profiles", f"{_START}/valkey.log, or set ANIMUSIC_REDIS__URL", self._profiles),
            ("warehouse", f"{_START}/warehouse.log, or set ANIMUSIC_CLICKHOUSE__DSN", self._warehouse),
            ("services", f"{_START}/gateway.log", self._system),
        ]
        return placed(await run_checks(checks), self._settings.data_dir)

    async def _python(self) -> list[Finding]:
        return [Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")]

    async def _data_dir(self) -> list[Finding]:
        path = self._settings.data_dir
        if not path.exists():
            return [Finding("data directory", "warn", f"{path} does not exist yet", "`make run` makes it")]
        usage = shutil.disk_usage(path)
        free = Finding("data directory", "ok", f"{path}, {usage.free / 2**30:.1f} GB free")
        return list(judging.disk_space(Disk(str(path), free=usage.free, size=usage.total))) or [free]

    async def _port(self) -> list[Finding]:
        host, port = self._settings.host, self._settings.port
        if (self._settings.data_dir / ENDPOINTS_FILE).exists():
            # What runs is asked who it is, with all other parts (`_system`).
            return []
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.settimeout(1.0)
            free = probe.connect_ex((host, port)) != 0
        if free:
            return [Finding("public port", "ok", f"{host}:{port} is free")]
        return [Finding("public port", "warn", "it is taken", taken(host, port, "ANIMUSIC_PORT"))]

    async def _log(self) -> list[Finding]:
        settings = self._settings.kafka
        await wait_for_broker(settings, timeout_seconds=3)
        health = await kafka.brokers_and_topics(settings)
        if health.missing:
            return [Finding("log", "fail", f"topics are missing: {', '.join(health.missing)}", "`animusic topics`")]
        events = (await sample_log(settings, [FEEDBACK.name])).records
        letters = await kafka.letters(settings, judging.Limits().hours)
        found = [Finding("log", "ok", f"{settings.bootstrap_servers}: {events} feedback events, all topics there")]
        if letters.open:
            remedy = "`animusic dlq list` says why and what can be done"
            found.append(Finding("dead letters", "warn", f"{letters.open} records could not be read", remedy))
        return found

    async def _contents(self) -> list[Finding]:
        found = []
        for topic, what, remedy in (
            (CATALOGUE.name, "songs", "`animusic catalogue import sample`"),
            (MODELS.name, "models", "`animusic models build`"),
        ):
            keys = {record.key async for batch in read_to_end(self._settings.kafka, topic) for record in batch}
            found.append(
                Finding(what, "ok" if keys else "fail", f"{len(keys)} {what} in the log", "" if keys else remedy)
            )
        return found

    async def _profiles(self) -> list[Finding]:
        async with aclosing(RedisProbe(self._settings.redis, _ANSWER_SECONDS)) as probe:
            health = await probe.health()
        detail = f"{self._settings.redis.url}: {health.used_bytes / 2**20:.1f} MB used, generation {health.generation}"
        return [Finding("profiles", "ok", detail), *judging.redis(health)]

    async def _warehouse(self) -> list[Finding]:
        async with aclosing(ClickhouseProbe(self._settings.clickhouse, _ANSWER_SECONDS)) as probe:
            health = await probe.health(judging.Limits().hours)
        detail = f"ClickHouse {health.version} at {self._settings.clickhouse.dsn}: {health.rows} rows"
        return [Finding("warehouse", "ok", detail), *judging.clickhouse(health, judging.Limits())]

    async def _system(self) -> list[Finding]:
        """What `animusic status` finds beside the parts above, so that the doctor is never better pleased."""
        status = await Looker(self._settings, judging.Limits(), lambda: self._supervisor).look()
        found = [finding for finding in status.findings if finding.name not in _ASKED_ABOVE]
        served = [f"{service.name} ready at {service.url}" for service in status.services if service.ready]
        well = [Finding("services", "ok", ", ".join(served))] if served else []
        return [*well, *found]
