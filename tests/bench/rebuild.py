"""The warehouse rebuilt from the log: rate, CPU, memory, how long inserts wait, what analysts get meanwhile."""

import asyncio
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from contracts.topics import FEEDBACK
from services.common.kafka import ensure_topics
from services.common.settings import KafkaSettings
from services.local.parts import animusic
from tests.bench.bare import consume_bare
from tests.bench.consumers import drain, feedback, serving, write
from tests.bench.machine import MIB, CpuMeter, share_of
from tests.bench.report import Section, say
from tests.bench.stage import Stage
from tests.bench.system import clean_environment
from tests.support.stores import kafka_node

EVENTS, QUICK_EVENTS = 1_000_000, 100_000
LISTENERS = 20_000
_ASK_S = 10.0
_SAID = re.compile(r"read ([\d,]+) records in ([\d.]+) s \(([\d,]+)/s\), at most (\d+) MB")
_CPU = re.compile(r"CPU: engine ([\d.]+) s, readers ([\d.]+) s")
_PAUSED = re.compile(r"took no rows for ([\d.]+) s")
_REST_S = 120.0
_RESTING_SHARE = 0.15
_CURVE = "SELECT count() FROM animusic.exposure_curve"


@dataclass
class Rebuilt:
    """A rebuild as it was seen from outside."""

    said: str = ""
    status: int = -1
    answers_ms: list[float] = field(default_factory=list)


async def measure(stage: Stage) -> Section:
    """The section. Starts a Kafka and a warehouse by themselves."""
    count = QUICK_EVENTS if stage.quick else EVENTS
    directory = stage.directory / "rebuild"
    section = Section(
        "Warehouse rebuilt (R6)",
        f"`animusic replay warehouse` over {count:,} feedback events of {LISTENERS:,} listeners in 8 partitions, from "
        "reading to the exchange of tables, once the engine is at rest. An analyst asks for the curves "
        f"{_ASK_S:.0f} s after each answer.",
    )
    with kafka_node(directory / "kafka") as node:
        settings = KafkaSettings(bootstrap_servers=node.bootstrap_servers)
        say(f"writing {count:,} events")
        await ensure_topics(settings)
        await write(settings, FEEDBACK.name, feedback(count, LISTENERS))
        bare = await consume_bare(settings, FEEDBACK.name)
        section.add("bare aiokafka consumption", f"{bare:,.0f} records/s")
        addresses = {"ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": node.bootstrap_servers}
        data = directory / "warehouse"
        async with serving("warehouse", "WAREHOUSE__PORT", addresses, data) as (child, port):
            live = await drain("warehouse", child, port, count, {"warehouse": child.pid})
            section.add(
                "the live consumer drained it",
                f"{live.per_second:,.0f} events/s",
                "",
                f"{live.per_cpu_second:,.0f} events per CPU second",
            )
            await _at_rest(child.pid)
            environment = clean_environment(
                data, {**addresses, "ANIMUSIC_CLICKHOUSE__DSN": f"http://127.0.0.1:{port}/animusic"}
            )
            _add(section, await _rebuild(port, environment, data), count, bare)
    return section


async def _at_rest(pid: int) -> None:
    """Return once what the live consumer inserted is merged: that is its cost, not the rebuild's."""
    say("waiting until the engine is at rest")
    deadline, used = time.monotonic() + _REST_S, 1.0
    while used > _RESTING_SHARE:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the warehouse still takes {share_of(used)} of a core after {_REST_S:.0f} s")
        meter = CpuMeter({"warehouse": pid})
        await asyncio.sleep(2.0)
        used = meter.shares()["warehouse"]


async def _rebuild(port: int, environment: dict[str, str], data: Path) -> Rebuilt:
    found = Rebuilt()
    with (data / "rebuild.log").open("wb") as output:
        command = subprocess.Popen(
            animusic("replay", "warehouse"), env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    async with httpx.AsyncClient(timeout=60) as client:
        while command.poll() is None:
            began = time.perf_counter()
            answer = await client.post(f"http://127.0.0.1:{port}/", content=_CURVE)
            answer.raise_for_status()
            found.answers_ms.append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(_ASK_S)
    found.status = command.returncode
    found.said = (data / "rebuild.log").read_text()
    return found


def _add(section: Section, found: Rebuilt, count: int, bare: float) -> None:
    match, paused, cpu = (pattern.search(found.said) for pattern in (_SAID, _PAUSED, _CPU))
    if match is None or paused is None or cpu is None or found.status:
        raise RuntimeError(f"the rebuild ended with status {found.status}:\n{found.said[-2000:]}")
    rate = int(match[3].replace(",", ""))
    engine, readers = float(cpu[1]), float(cpu[2])
    section.add(
        "rebuilt, until the live marks were reached",
        f"{rate:,} events/s ({count:,} in {match[2]} s)",
        "R6: ≥ 30,000/s",
        f"{share_of(rate / bare)} of bare",
        kept=rate >= 30_000,
    )
    each = (engine + readers) / count * 1e6
    section.add(
        "CPU for an event",
        f"{each:.1f} µs",
        "",
        f"engine {engine / count * 1e6:.1f} µs, readers {readers / count * 1e6:.1f} µs; two free cores would give "
        f"{2e6 / each:,.0f} events/s",
    )
    section.add("peak memory of its readers", f"{int(match[4]):,} MB", "≤ 1 GB", kept=int(match[4]) * MIB <= 1 << 30)
    section.add("inserts waited during comparison and exchange", f"{paused[1]} s")
    answers = sorted(found.answers_ms)
    section.add(
        "the curves, asked meanwhile",
        f"{len(answers)} answers, p50 {answers[len(answers) // 2]:,.0f} ms, longest {answers[-1]:,.0f} ms, no error",
    )
