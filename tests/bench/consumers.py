"""How fast the two consumers drain a topic, beside a bare aiokafka consumer of the same records."""

import asyncio
import random
import re
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.events import FeedbackEvent
from contracts.placement import partition_of
from contracts.topics import FEEDBACK
from services.common.kafka import ensure_topics, producer
from services.common.process.clock import now_ms
from services.common.settings import KafkaSettings
from services.local.parts import animusic
from services.local.processes.ports import free_port
from tests.bench.bare import consume_bare
from tests.bench.http_load import ask_once, request
from tests.bench.machine import CpuMeter, percent, share_of
from tests.bench.report import Section, say
from tests.bench.stage import Stage
from tests.bench.system import clean_environment
from tests.support.stores import kafka_node, valkey_node

RECORDS, QUICK_RECORDS = 300_000, 60_000
USERS = 2_000
SONGS = 14_885
DRAIN_S = 300.0
# Each look makes the consumer write out its metrics.
LOOK_S = 0.1
Record = tuple[str, bytes]
Child = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Drained:
    """One drain: `start_seconds` until the first record was taken, `per_second` from there to the end of the topic."""

    start_seconds: float
    per_second: float
    per_cpu_second: float
    cpu: str


async def measure(stage: Stage) -> Section:
    """The section. Starts a Kafka, a Valkey and the consumers by themselves."""
    count = QUICK_RECORDS if stage.quick else RECORDS
    directory = stage.directory / "consumers"
    section = Section(
        "Consumers",
        f"`animusic serve profiles` and `animusic serve warehouse` read a topic of {count:,} feedback events of "
        f"{USERS:,} listeners in 8 partitions. Bare consumption is an aiokafka consumer that only counts the records.",
    )
    with kafka_node(directory / "kafka") as node, valkey_node(directory / "valkey") as valkey:
        settings = KafkaSettings(bootstrap_servers=node.bootstrap_servers)
        say(f"writing {count:,} events")
        await ensure_topics(settings)
        await write(settings, FEEDBACK.name, feedback(count))
        bare = await consume_bare(settings, FEEDBACK.name)
        section.add("bare aiokafka consumption", f"{bare:,.0f} records/s")
        addresses = {"ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": node.bootstrap_servers, "ANIMUSIC_REDIS__URL": valkey.url}
        engines = {"kafka": node.pid or 0, "valkey": valkey.pid or 0}
        for name, port_setting in (("profiles", "PROFILES__METRICS_PORT"), ("warehouse", "WAREHOUSE__PORT")):
            async with serving(name, port_setting, addresses, directory / name) as (child, port):
                drained = await drain(name, child, port, count, {name: child.pid, **engines})
            _add(section, name, drained, bare)
    return section


def _add(section: Section, name: str, drained: Drained, bare: float) -> None:
    section.add(
        f"{name} drains",
        f"{drained.per_second:,.0f} events/s",
        "",
        f"{share_of(drained.per_second / bare)} of bare; first record after {drained.start_seconds:.1f} s; "
        f"{drained.per_cpu_second:,.0f} events per CPU second; CPU: {drained.cpu}",
    )


def feedback(count: int, listeners: int = USERS) -> Iterator[Record]:
    """(user id, log value) of `count` feedback events of so many listeners, as the gateway writes them."""
    rng = random.Random(11)
    users = [f"g-{rng.getrandbits(64):016x}" for _ in range(listeners)]
    now = now_ms()
    kinds = ("started", "progress", "progress", "ended", "liked", "skipped")
    for number in range(count):
        user, kind = rng.choice(users), rng.choice(kinds)
        event = FeedbackEvent(
            event_id=uuid.UUID(int=rng.getrandbits(128), version=4),
            kind=kind,
            user_id=user,
            occurred_at=now - count + number,
            received_at=now,
            song_id=f"anidb-{rng.randrange(SONGS)}",
            watch_ms=rng.randrange(90_000) if kind == "progress" else None,
            duration_ms=90_000 if kind == "progress" else None,
            direction="next" if kind == "skipped" else None,
            attribution="slot",
            arm="tfidf",
            playlist_id=uuid.UUID(int=rng.getrandbits(128), version=4),
            revision=0,
            slot=rng.randrange(6),
            p_arm=1 / 6,
            p_song=1.0,
            model_version="0123456789abcdef",
            issued_at=now - count,
        )
        yield user, event.log_value()


async def write(settings: KafkaSettings, topic: str, records: Iterator[Record]) -> None:
    """Append records of user-keyed topic, waiting for every acknowledgement."""
    client = producer(settings, max_batch_size=512 * 1024)
    await client.start()
    try:
        partitions = len(await client.partitions_for(topic))
        waiting = []
        for user, value in records:
            partition = partition_of(user, partitions)
            waiting.append(await client.send(topic, value, key=user.encode(), partition=partition))
            if len(waiting) >= 5_000:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)
    finally:
        await client.stop()


@asynccontextmanager
async def serving(
    name: str, port_setting: str, addresses: dict[str, str], data_dir: Path
) -> AsyncIterator[tuple[Child, int]]:
    """One consumer as a process: (it, port of its /metrics); stopped at the end of the block."""
    data_dir.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = clean_environment(data_dir, {**addresses, f"ANIMUSIC_{port_setting}": str(port)})
    with (data_dir / "service.log").open("wb") as log:
        command = animusic("serve", name)
        child = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield child, port
    finally:
        child.terminate()
        await asyncio.to_thread(child.wait, 60)


async def drain(name: str, child: Child, port: int, count: int, pids: dict[str, int]) -> Drained:
    """Wait until a consumer has flushed `count` records. Raises RuntimeError when it ends before, or after minutes."""
    began, first, seen_first = time.perf_counter(), None, 0.0
    meter = CpuMeter(pids)
    while True:
        seen, now = await _flushed(port), time.perf_counter()
        if first is None and seen:
            first, seen_first, meter = now, seen, CpuMeter(pids)
        if first is not None and seen >= count:
            rate = (seen - seen_first) / (now - first) if seen > seen_first else seen / (now - began)
            per_cpu_second = (seen - seen_first) / max(meter.seconds()[name], 0.001)
            return Drained(first - began, rate, per_cpu_second, percent(meter.shares()))
        if child.poll() is not None:
            raise RuntimeError(f"the consumer ended with status {child.returncode}; with --data its log stays")
        if now - began > DRAIN_S:
            raise RuntimeError(f"only {seen:,.0f} of {count:,} records were taken within {DRAIN_S:.0f} s")
        await asyncio.sleep(LOOK_S)


_RECORDS = re.compile(rb"^animusic_consumer_records_total\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)


async def _flushed(port: int) -> float:
    try:
        _, text = await ask_once(port, request("GET", "/metrics"))
    except OSError:
        return 0.0
    return sum(float(number) for number in _RECORDS.findall(text))
