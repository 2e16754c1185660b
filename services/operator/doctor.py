"""What is wrong with this installation, and what to do: every part is asked for real, nothing is started or changed."""

import asyncio
import shutil
import socket
import sys

import clickhouse_connect
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from contracts.topics import CATALOGUE, FEEDBACK, MODELS, TOPICS
from services.common.kafka import partition_ids, read_to_end, wait_for_broker
from services.common.settings import ENDPOINTS_FILE, Settings
from services.operator.dlq.letters import OPEN
from services.operator.dlq.reading import read_letters
from services.operator.findings import Check, Finding, State, run_checks

_LOW_DISK_BYTES = 2 << 30
_START = "start the system with `make run` and look at <data_dir>/logs"


class Doctor:
    """Looks at one installation, given its settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

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
            ("gateway", f"{_START}/gateway.log", self._gateway),
        ]
        return await run_checks(checks)

    async def _python(self) -> list[Finding]:
        return [Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")]

    async def _data_dir(self) -> list[Finding]:
        path = self._settings.data_dir
        if not path.exists():
            return [Finding("data directory", "warn", f"{path} does not exist yet", "`make run` makes it")]
        free = shutil.disk_usage(path).free
        remedy = "free some disk space: when it is full the gateway answers 503" if free < _LOW_DISK_BYTES else ""
        state: State = "warn" if remedy else "ok"
        return [Finding("data directory", state, f"{path}, {free / 2**30:.1f} GB free", remedy)]

    async def _port(self) -> list[Finding]:
        host, port = self._settings.host, self._settings.port
        with socket.socket() as probe:
            probe.settimeout(1.0)
            taken = probe.connect_ex((host, port)) == 0
        running = (self._settings.data_dir / ENDPOINTS_FILE).exists()
        if taken and not running:
            remedy = "another program has it: stop that one or choose another port by ANIMUSIC_PORT"
            return [Finding("public port", "warn", f"{host}:{port} is taken", remedy)]
        if running and not taken:
            return [Finding("public port", "fail", f"nobody answers at {host}:{port}", f"{_START}/gateway.log")]
        return [Finding("public port", "ok", f"{host}:{port} {'answers' if taken else 'is free'}")]

    async def _log(self) -> list[Finding]:
        kafka = self._settings.kafka
        await wait_for_broker(kafka, timeout_seconds=3)
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers)
        await consumer.start()
        try:
            names = await consumer.topics()
            missing = sorted({topic.name for topic in TOPICS} - names)
            if missing:
                return [Finding("log", "fail", f"topics are missing: {', '.join(missing)}", "`animusic topics`")]
            letters = (await read_letters(kafka)).letters.values()
            events = await _count(consumer, FEEDBACK.name)
        finally:
            await consumer.stop()
        found = [Finding("log", "ok", f"{kafka.bootstrap_servers}: {events} feedback events, all topics there")]
        waiting = sum(letter.state == OPEN for letter in letters)
        if waiting:
            remedy = "`animusic dlq list` says why, `animusic dlq redrive` sends them again"
            found.append(Finding("dead letters", "warn", f"{waiting} records could not be read", remedy))
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
        redis = Redis.from_url(self._settings.redis.url, socket_timeout=3)
        try:
            await redis.ping()
            memory = await redis.info("memory")
            policy = memory.get("maxmemory_policy", "noeviction")
        finally:
            await redis.aclose()
        found = [Finding("profiles", "ok", f"{self._settings.redis.url}: {memory['used_memory_human']} used")]
        if policy != "noeviction":
            remedy = "set maxmemory-policy noeviction: an evicted profile is a wrong profile"
            found.append(Finding("profiles", "warn", f"the store may evict profiles ({policy})", remedy))
        return found

    async def _warehouse(self) -> list[Finding]:
        def version() -> str:
            with clickhouse_connect.get_client(dsn=self._settings.clickhouse.dsn) as client:
                return str(client.query("SELECT version()").result_rows[0][0])

        answer = await asyncio.to_thread(version)
        return [Finding("warehouse", "ok", f"ClickHouse {answer} at {self._settings.clickhouse.dsn}")]

    async def _gateway(self) -> list[Finding]:
        async with httpx.AsyncClient(timeout=5) as client:
            answer = await client.get(f"http://{self._settings.host}:{self._settings.port}/readyz")
        state: State = "ok" if answer.is_success else "fail"
        remedy = "" if answer.is_success else "the answer names the part that is not ready"
        return [Finding("gateway", state, f"/readyz: {answer.text.strip()}", remedy)]


async def _count(consumer: AIOKafkaConsumer, topic: str) -> int:
    """Records that a topic holds at most: the distance between its ends (compaction leaves holes)."""
    partitions = [TopicPartition(topic, p) for p in await partition_ids(consumer, topic)]
    begin = await consumer.beginning_offsets(partitions)
    end = await consumer.end_offsets(partitions)
    return sum(end[tp] - begin[tp] for tp in partitions)
