"""R7: what the gateway takes, beside a bare producer of the same record bytes."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from contracts.topics import FEEDBACK
from services.common.kafka import producer
from services.common.settings import KafkaSettings
from tests.bench import stated
from tests.bench.events import playing, post
from tests.bench.http_load import Outcome
from tests.bench.listeners import Listener, guests, post_all, slot_tokens
from tests.bench.machine import CpuMeter, percent, share_of
from tests.bench.marks import ends_of, wait_until_caught_up
from tests.bench.report import Section, say
from tests.bench.stage import Stage
from tests.bench.system import Measured

USERS = 64
BATCH = 100
# Enough posts for several seconds of each; --quick is for a look.
BATCHES, QUICK_BATCHES = 2_000, 400
SINGLES, QUICK_SINGLES = 15_000, 3_000
SCRATCH = "bench.scratch"
Record = tuple[int, bytes, bytes, int]


async def measure(stage: Stage) -> Section:
    """The section."""
    section = Section(
        "Gateway: events in (R7)",
        f"Posts of {USERS} listeners, each answered after the broker's acknowledgement (acks=all, idempotent). Events "
        "carry slot tokens. *Log alone*: both consumers are stopped (SIGSTOP); *whole system*: they follow the log. "
        "The bare producer is aiokafka with the same safety settings, 512 KB batches and the gateway's records.",
    )
    system = await stage.system()
    batches, singles = (QUICK_BATCHES, QUICK_SINGLES) if stage.quick else (BATCHES, SINGLES)
    crowd = await _crowd(system)
    await _post(system, _posts(crowd, batches // 10, BATCH), 8)  # warm: imports, connections, the JVM's compiler
    with stopped(system, "profiles", "warehouse"):
        before = await ends_of(system.settings().kafka, FEEDBACK.name)
        alone, cpu = await _post(system, _posts(crowd, batches, BATCH), 8)
        records = await _written(system.settings().kafka, before, batches * BATCH)
        bare = await _bare(system.settings().kafka, records)
        single, single_cpu = await _post(system, _posts(crowd, singles, 1), 32)
    _add_batches(section, alone, cpu, bare, records)
    _add_singles(section, "single-event posts, 32 clients, log alone", single, single_cpu, promised=True)
    await wait_until_caught_up(system.settings())
    whole, cpu = await _post(system, _posts(crowd, batches, BATCH), 8)
    section.add("batches of 100, whole system", _events(whole), "", _cost(whole, cpu))
    await wait_until_caught_up(system.settings())
    plain, cpu = await _post(system, _posts([(one, None) for one, _ in crowd], batches, BATCH), 8)
    section.add("batches of 100 without slot tokens, whole system", _events(plain), "", _cost(plain, cpu))
    await wait_until_caught_up(system.settings())
    both, cpu = await _post(system, _posts(crowd, singles, 1), 32)
    _add_singles(section, "single-event posts, 32 clients, whole system", both, cpu, promised=False)
    await wait_until_caught_up(system.settings())
    return section


def _add_batches(section: Section, seen: Outcome, cpu: str, bare: float, records: list[Record]) -> None:
    events, ratio = seen.per_second * BATCH, seen.per_second * BATCH / bare
    beside = f"{_cost(seen, cpu)}; {stated.BATCH_POSTS}"
    section.add(
        "batches of 100, 8 clients, log alone", _events(seen), "R7: ≥ 20,000 events/s", beside, kept=events >= 20_000
    )
    size = sum(len(value) for _, _, value, _ in records) / len(records)
    section.add("bare aiokafka producer, same records", f"{bare:,.0f} events/s", "", f"{size:.0f} bytes a record")
    section.add("gateway / bare producer", share_of(ratio), "R7: ≥ 40 %", kept=ratio >= 0.4)


def _add_singles(section: Section, what: str, seen: Outcome, cpu: str, *, promised: bool) -> None:
    figure = f"{seen.per_second:,.0f} posts/s, p50 {seen.quantile(0.5):.1f} ms, p99 {seen.quantile(0.99):.1f} ms"
    beside = f"{_cost(seen, cpu)}; {stated.AM_POSTS}" if promised else _cost(seen, cpu)
    kept = seen.per_second >= 1_700 and seen.quantile(0.99) < 50
    section.add(what, figure, "R7: ≥ 1,700 posts/s, p99 < 50 ms", beside, kept=kept if promised else None)


def _events(seen: Outcome) -> str:
    rate = seen.per_second * BATCH
    return f"{rate:,.0f} events/s, post p50 {seen.quantile(0.5):.1f} ms, p99 {seen.quantile(0.99):.1f} ms"


def _cost(seen: Outcome, cpu: str) -> str:
    return f"CPU: {cpu}, generator {share_of(seen.generator_share)}"


async def _crowd(system: Measured) -> list[tuple[Listener, dict[str, str] | None]]:
    say(f"{USERS} guests, a playlist for each")
    return [(guest, await slot_tokens(system.port, guest)) for guest in await guests(system.port, USERS)]


def _posts(crowd: list[tuple[Listener, dict[str, str] | None]], count: int, size: int) -> list[bytes]:
    rng = random.Random(size)
    others = [f"anidb-{number}" for number in range(6)]
    return [
        post(guest.token, playing(rng, list(tokens or others), size, tokens))
        for guest, tokens in (crowd[number % len(crowd)] for number in range(count))
    ]


async def _post(system: Measured, posts: list[bytes], clients: int) -> tuple[Outcome, str]:
    meter = CpuMeter(system.pids())
    seen = await post_all(system.port, posts, clients)
    rate = len(posts) / max(meter.seconds()["gateway"], 0.001)
    return seen, f"{percent(meter.shares(), 0.02)} (that is {rate:,.0f} posts per CPU second of the gateway)"


@contextmanager
def stopped(system: Measured, *parts: str) -> Iterator[None]:
    """SIGSTOP for parts while the block runs."""
    pids = [pid for name, pid in system.pids().items() if name in parts]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def _written(settings: KafkaSettings, since: Mapping[int, int], count: int) -> list[Record]:
    """(partition, key, value, timestamp) of the feedback from the offsets `since` on."""
    client = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    await client.start()
    try:
        client.assign([TopicPartition(FEEDBACK.name, partition) for partition in since])
        for partition, offset in since.items():
            client.seek(TopicPartition(FEEDBACK.name, partition), offset)
        found: list[Record] = []
        while len(found) < count:
            for batch in (await client.getmany(timeout_ms=1_000)).values():
                found += [(r.partition, r.key, r.value, r.timestamp) for r in batch]
        # In the order of time, not partition by partition: as they came in.
        return sorted(found, key=lambda record: record[3])
    finally:
        await client.stop()


async def _bare(settings: KafkaSettings, records: list[Record]) -> float:
    """Records a second that a bare producer of this process gets acknowledged."""
    await _scratch_topic(settings, max(record[0] for record in records) + 1)
    client = producer(settings, max_batch_size=512 * 1024)
    await client.start()
    try:
        await client.send_and_wait(SCRATCH, b"warm", partition=0)
        began = time.perf_counter()
        waiting: list[Any] = []
        for partition, key, value, at in records:
            waiting.append(await client.send(SCRATCH, value, key=key, partition=partition, timestamp_ms=at))
            if len(waiting) >= 4_000:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)
        return len(records) / (time.perf_counter() - began)
    finally:
        await client.stop()


async def _scratch_topic(settings: KafkaSettings, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        if SCRATCH not in await admin.list_topics():
            await admin.create_topics([NewTopic(SCRATCH, partitions, 1)])
    finally:
        await admin.close()
