"""Everything is lost but the backup: its size, the time of it and of its restore, and whether all is as before."""

import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from redis.asyncio import Redis

from contracts.fold import user_digest
from contracts.placement import shard_of
from contracts.topics import FEEDBACK, PROFILES, TOPICS
from services.common.kafka import ensure_topics
from services.common.settings import KafkaSettings
from services.local.parts import animusic
from services.local.processes.ports import free_port
from services.operator.backup.restoring import restore
from services.operator.backup.taking import backup
from tests.bench.consumers import feedback, write
from tests.bench.machine import share_of
from tests.bench.report import Section, say
from tests.bench.stage import Stage
from tests.bench.system import clean_environment
from tests.support.following import at_end, profiles_in
from tests.support.stores import kafka_node, valkey_node
from tests.support.waiting import apoll
from tests.unit.profiles.test_writes import LIST, encoded

RECORDS, QUICK_RECORDS = 1_000_000, 60_000
LISTENERS = 20_000
LISTS_EVERY = 100
CATCH_UP_S = 900.0
QUERY_S = 120
NAMES = [topic.name for topic in TOPICS]


@dataclass(frozen=True)
class Views:
    """What followed from a log: shard -> digest of its profiles, table -> (rows, digest), and the seconds it took."""

    shards: dict[int, int]
    tables: dict[str, tuple[int, int]]
    seconds: float


async def measure(stage: Stage) -> Section:
    """The section. Starts two Kafkas, one after the other, and consumers of its own; the first loses everything."""
    count = QUICK_RECORDS if stage.quick else RECORDS
    root = stage.directory / "backup"
    section = Section(
        "Backup",
        f"{count:,} feedback events of {LISTENERS:,} listeners and {count // LISTS_EVERY:,} anime lists in 8 "
        "partitions: `animusic backup`, deletion of Kafka, Valkey and ClickHouse, `animusic restore` into a new Kafka; "
        "profiles and warehouse then follow it. Digests cover every profile and every row of the registers' tables.",
    )
    with kafka_node(root / "kafka") as node:
        log = KafkaSettings(bootstrap_servers=node.bootstrap_servers)
        await ensure_topics(log)
        say(f"writing {count:,} events")
        await write(log, FEEDBACK.name, feedback(count, LISTENERS))
        await write(log, PROFILES.name, _lists(count // LISTS_EVERY))
        before = await _views(log, root / "before")
        log_bytes = _size(root / "kafka" / "log")
        taken = await backup(log, root / "files", NAMES, _quiet)
        _add_taken(section, taken.copied, taken.seconds, taken.manifest.bytes, log_bytes)
        again = await backup(log, root / "files", NAMES, _quiet)
        section.add(
            "a second backup with nothing new", f"{again.seconds:.1f} s", "", f"{again.copied:,} records copied"
        )
    for lost in ("kafka", "before"):
        shutil.rmtree(root / lost)
    with kafka_node(root / "restored") as node:
        log = KafkaSettings(bootstrap_servers=node.bootstrap_servers)
        restored = await restore(log, root / "files", _quiet)
        rate = restored.written / restored.seconds
        section.add("restore", f"{restored.seconds:.1f} s", "", f"{rate:,.0f} records/s")
        after = await _views(log, root / "after")
    section.add("profiles and warehouse follow", f"{after.seconds:.0f} s", "", f"the first time {before.seconds:.0f} s")
    section.add("peak memory", f"{_peak_mb():.0f} MB", "", "generator, backup and restore in one process")
    _add_verdict(section, before, after)
    return section


def _add_taken(section: Section, records: int, seconds: float, size: int, log_bytes: int) -> None:
    section.add("backup", f"{seconds:.1f} s", "", f"{records:,} records, {records / seconds:,.0f} records/s")
    beside = f"{size / records:.0f} bytes a record; {share_of(size / log_bytes)} of Kafka's {log_bytes / 1e6:,.0f} MB"
    section.add("size of the backup", f"{size / 1e6:,.1f} MB", "", beside)


def _add_verdict(section: Section, before: Views, after: Views) -> None:
    same = before.shards == after.shards
    section.add("profiles' digests, all shards", "equal" if same else "DIFFERENT", "equal", kept=same)
    same = before.tables == after.tables
    rows = ", ".join(f"{name} {count:,}" for name, (count, _) in after.tables.items())
    section.add("warehouse: rows and digests", "equal" if same else "DIFFERENT", "equal", rows, kept=same)


def _lists(count: int) -> Iterator[tuple[str, bytes]]:
    for number in range(count):
        user = f"list-{number % LISTENERS}"
        yield user, encoded({**LIST, "user_id": user, "entries": [{"mal_id": 1 + number % 60_000}]})


@contextmanager
def _quiet(_what: str, _total: int, _unit: str, /) -> Iterator[object]:
    yield lambda _step: None


async def _views(log: KafkaSettings, directory: Path) -> Views:
    """Let both consumers follow a log from nothing to its end, as processes on stores of their own."""
    began = time.perf_counter()
    port = free_port()
    with valkey_node(directory / "valkey") as valkey:
        shared = {"ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": log.bootstrap_servers, "ANIMUSIC_REDIS__URL": valkey.url}
        dsn = f"http://127.0.0.1:{port}/animusic"
        shared |= {"ANIMUSIC_WAREHOUSE__PORT": str(port), "ANIMUSIC_CLICKHOUSE__DSN": dsn}
        shared |= {"ANIMUSIC_WAREHOUSE__QUERY_SECONDS": str(QUERY_S)}
        redis = Redis.from_url(valkey.url)
        try:
            with _service("profiles", directory, shared), _service("warehouse", directory, shared):
                await at_end(log, redis, timeout=CATCH_UP_S)
                await apoll(lambda: _at_end(port), timeout=CATCH_UP_S, interval=0.5, what="the warehouse is at the end")
                seconds = time.perf_counter() - began
                tables = {
                    name: await _digest(port, name) for name in ("registers", "vetoes", "played", "slot_outcomes")
                }
            return Views(await _shards(redis), tables, seconds)
        finally:
            await redis.aclose()


@contextmanager
def _service(name: str, directory: Path, settings: dict[str, str]) -> Iterator[None]:
    data_dir = directory / name
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "service.log").open("wb") as output:
        command, environment = animusic("serve", name), clean_environment(data_dir, settings)
        child = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        child.terminate()
        child.wait(60)


async def _at_end(port: int) -> bool:
    """Whether the warehouse is ready and says that it has no lag."""
    try:
        async with httpx.AsyncClient() as client:
            said = (await client.get(f"http://127.0.0.1:{port}/readyz", timeout=30)).json()
    except (httpx.TransportError, ValueError):
        return False
    return bool(said["status"] == "ready" and said["lag"] == 0 and said["partitions"])


async def _digest(port: int, table: str) -> tuple[int, int]:
    """(rows, digest in any order) of a table, merged; asked user by user's first digit, to stay below the limits."""
    rows = digest = 0
    async with httpx.AsyncClient() as client:
        for first in "0123456789abcdef":
            statement = (
                "SELECT count(), sum(cityHash64(toString(tuple(*)))) "
                f"FROM (SELECT * FROM animusic.{table} FINAL WHERE user_id LIKE 'g-{first}%')"
            )
            answer = await client.post(f"http://127.0.0.1:{port}/", content=statement, timeout=QUERY_S)
            if answer.is_error:
                raise RuntimeError(f"the warehouse did not tell the digest of {table}: {answer.text.strip()}")
            found, part = map(int, answer.text.split())
            rows, digest = rows + found, (digest + part) % (1 << 64)
    return rows, digest


async def _shards(redis: Redis) -> dict[int, int]:
    """Shard -> sum of the digests of its users."""
    found: dict[int, int] = {}
    for user, fields in (await profiles_in(redis)).items():
        shard = shard_of(user)
        found[shard] = (found.get(shard, 0) + int(user_digest(user, fields), 16)) % (1 << 128)
    return found


def _size(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
