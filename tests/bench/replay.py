"""R6: profiles rebuilt from the log while the system serves and events arrive; beside it bare consumption."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from statistics import harmonic_mean
from typing import Any

from contracts.topics import FEEDBACK
from services.common.redis import connect
from services.common.settings import Settings
from services.operator.parity import compare
from services.operator.replay.profiles import RebuildOptions
from services.profiles.generations import Generations
from tests.bench import consumers
from tests.bench.bare import consume_bare
from tests.bench.flow import flowing
from tests.bench.http_load import Connection, Outcome
from tests.bench.listeners import Listener, playlist_request
from tests.bench.machine import MIB, CpuMeter, percent, share_of
from tests.bench.marks import ends_of, wait_until_caught_up
from tests.bench.replay_command import Rebuilt, run
from tests.bench.report import Section, say
from tests.bench.stage import Stage

EVENTS, QUICK_EVENTS = 1_000_000, 100_000
LISTENERS = 20_000
PLAYLISTS_A_SECOND = 20
EVENTS_A_SECOND = 200
RATE = 15_000
HELD_BACK = ("--rate", str(RATE))
# What a playlist waits for at p99 takes many playlists to tell, and a rebuild that takes what it gets is soon over.
ROUNDS: tuple[tuple[str, ...], ...] = ((), (), (), HELD_BACK, (), ())
QUICK_ROUNDS: tuple[tuple[str, ...], ...] = ((), HELD_BACK)
BEFORE_S, QUICK_BEFORE_S = 45.0, 15.0
HEARD = 30
CONNECTIONS = 8


async def measure(stage: Stage) -> Section:
    """The section."""
    count = QUICK_EVENTS if stage.quick else EVENTS
    rounds = QUICK_ROUNDS if stage.quick else ROUNDS
    section = Section(
        "Profiles rebuilt while the system serves (R6)",
        f"`animusic replay profiles` over {count:,} events of {LISTENERS:,} listeners in 8 partitions, beside "
        f"{PLAYLISTS_A_SECOND} playlists/s (six arms, {HEARD} songs heard) and {EVENTS_A_SECOND} events/s: reading, "
        "folding, comparison, switch and hand-over. Bare consumption is an aiokafka consumer that only counts the "
        "records, alone and beside the same load at a rebuild's priority. "
        f"{len(rounds)} rounds of playlists alone, bare consumption and a rebuild (one with `--rate`), taken together.",
    )
    system, crowd = await stage.system(), await stage.listeners(HEARD)
    settings = system.settings()
    say(f"writing {count:,} events, and waiting until both stores have taken them")
    await consumers.write(settings.kafka, FEEDBACK.name, consumers.feedback(count, LISTENERS))
    await wait_until_caught_up(settings)
    bare = await consume_bare(settings.kafka, FEEDBACK.name)
    half = len(crowd) // 2
    asking, noise = crowd[:half], crowd[half:]
    before: list[Outcome] = []
    beside: list[float] = []
    full: list[Rebuilt] = []
    held_back: list[Rebuilt] = []
    for number, options in enumerate(rounds, 1):
        say(f"round {number} of {len(rounds)}: playlists alone, then beside a rebuild {' '.join(options)}")
        before.append(await _served(system.port, asking, noise, QUICK_BEFORE_S if stage.quick else BEFORE_S))
        if not options:
            beside.append(await _bare_beside(settings, system.port, asking, noise))
        rebuilds = held_back if options else full
        rebuilds.append(await _rebuild_while_serving(settings, system, asking, noise, *options))
        await run(Rebuilt(), system, "generations", "prune")
    _add_rate(section, full, bare, beside)
    alone = _together(before)
    section.add("playlists alone", _figures(alone))
    _add_serving(section, alone, full, "meanwhile")
    rates = ", ".join(f"{one.rate:,}" for one in held_back)
    _add_serving(section, alone, held_back, f"beside one limited to {RATE:,} records/s ({rates}/s)")
    await _add_nothing_missing(section, settings, system, [*full, *held_back], bare)
    return section


@asynccontextmanager
async def paced(port: int, listeners: Sequence[Listener], per_second: float) -> AsyncIterator[Outcome]:
    """Playlists asked for on time inside the block; latency counts from when each was due, so waiting counts."""
    outcome, stop = Outcome(), asyncio.Event()
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(Connection(port))

    async def ask(raw: bytes, due: float) -> None:
        connection = await free.get()
        try:
            status, _ = await connection.ask(raw)
            outcome.latencies_ms.append((time.perf_counter() - due) * 1e3)
            outcome.statuses[status] = outcome.statuses.get(status, 0) + 1
        finally:
            free.put_nowait(connection)

    async def keep_asking() -> None:
        began = due = time.perf_counter()
        running: set[asyncio.Task[None]] = set()
        for raw in _asked(listeners):
            if stop.is_set():
                break
            running.add(task := asyncio.create_task(ask(raw, due)))
            task.add_done_callback(running.discard)
            due += 1 / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await asyncio.gather(*running)
        outcome.wall_seconds = time.perf_counter() - began

    task = asyncio.create_task(keep_asking())
    try:
        yield outcome
    finally:
        stop.set()
        await task


def _asked(listeners: Sequence[Listener]) -> Iterator[bytes]:
    raw = [playlist_request(listener) for listener in listeners]
    while True:
        yield from raw


async def _served(port: int, asking: list[Listener], noise: list[Listener], seconds: float) -> Outcome:
    async with flowing(port, EVENTS_A_SECOND, noise):
        async with paced(port, asking, PLAYLISTS_A_SECOND):
            await asyncio.sleep(2.0)  # each profile once: not measured
        async with paced(port, asking, PLAYLISTS_A_SECOND) as outcome:
            await asyncio.sleep(seconds)
    return outcome


async def _bare_beside(settings: Settings, port: int, asking: list[Listener], noise: list[Listener]) -> float:
    async with flowing(port, EVENTS_A_SECOND, noise), paced(port, asking, PLAYLISTS_A_SECOND):
        return await consume_bare(settings.kafka, FEEDBACK.name, nice=RebuildOptions().nice)


async def _rebuild_while_serving(
    settings: Settings, system: Any, asking: list[Listener], noise: list[Listener], *options: str
) -> Rebuilt:
    say("playlists and events while profiles are rebuilt")
    found = Rebuilt()
    first = sum((await ends_of(settings.kafka, FEEDBACK.name)).values())
    async with (
        flowing(system.port, EVENTS_A_SECOND, noise) as flowed,
        paced(system.port, asking, PLAYLISTS_A_SECOND) as outcome,
    ):
        meter, began = CpuMeter(system.pids()), time.perf_counter()
        await run(found, system, "replay", "profiles", *options)
        found.wall, found.cpu = time.perf_counter() - began, percent(meter.shares())
    found.served, found.accepted = outcome, flowed.accepted
    found.arrived = sum((await ends_of(settings.kafka, FEEDBACK.name)).values()) - first
    return found


def _together(seen: Sequence[Outcome]) -> Outcome:
    """Several runs as one."""
    whole = Outcome(wall_seconds=sum(one.wall_seconds for one in seen))
    for one in seen:
        whole.latencies_ms += one.latencies_ms
        for status, count in one.statuses.items():
            whole.statuses[status] = whole.statuses.get(status, 0) + count
    return whole


def _add_rate(section: Section, found: Sequence[Rebuilt], bare: float, beside: Sequence[float]) -> None:
    middle = sorted(found, key=lambda one: one.rate)[len(found) // 2]
    section.add("bare aiokafka consumption", f"{bare:,.0f} records/s")
    section.add("… beside the same playlists and events", f"{', '.join(f'{one:,.0f}' for one in beside)} records/s")
    section.add(
        "rebuilt, until the live marks were reached",
        f"{middle.rate:,} events/s, the median of {', '.join(f'{one.rate:,}' for one in found)}",
        "R6: ≥ 30,000/s",
        f"{middle.own_cpu / middle.records * 1e6:.1f} µs of CPU a record, all included; CPU: {middle.cpu}",
        kept=middle.rate >= 30_000,
    )
    # Of equally many records: the quotient of the times that they took.
    share = harmonic_mean([one.rate for one in found]) / harmonic_mean(beside)
    each = ", ".join(share_of(one.rate / bare) for one, bare in zip(found, beside, strict=True))
    section.add(
        "… of bare consumption beside the same",
        share_of(share),
        "",
        f"by round {each}; of bare consumption alone {share_of(middle.rate / bare)}",
    )
    section.add("whole command, with comparison and hand-over", f"{middle.wall:.1f} s")
    peak = max(one.peak for one in found)
    section.add("peak memory of its processes", f"{peak / MIB:,.0f} MB", "≤ 1 GB", kept=peak <= 1 << 30)


def _add_serving(section: Section, alone: Outcome, found: Sequence[Rebuilt], when: str) -> None:
    served = _together([one.served for one in found])
    p99, was = served.quantile(0.99), alone.quantile(0.99)
    section.add(
        f"playlists {when}",
        _figures(served),
        "p99 within +50 %",
        f"p99 {p99 / was - 1:+.0%}",
        kept=p99 <= was * 1.5 and not served.errors,
    )


def _figures(seen: Outcome) -> str:
    errors = f", {seen.errors} errors {seen.statuses}" if seen.errors else ""
    p50, p99 = seen.quantile(0.5), seen.quantile(0.99)
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms of {len(seen.latencies_ms):,} at {seen.per_second:.1f}/s{errors}"


async def _add_nothing_missing(
    section: Section, settings: Settings, system: Any, found: Sequence[Rebuilt], bare: float
) -> None:
    """The digests that the commands printed, and another rebuild of all that arrived meanwhile, compared afterwards."""
    equal = all("equal at equal marks in all 64 shards" in one.said for one in found)
    digests = [set(re.findall(r"digest \S+: ([0-9a-f]{32})", one.said)) for one in found]
    same = equal and all(len(two) == 1 for two in digests)
    section.add("digests of both generations", "equal" if same else "DIFFERENT", "equal", kept=same)
    redis = connect(settings.redis)
    try:
        live = await Generations(redis).live()
        again = Rebuilt()
        # What the live consumer took over is compared with all of the log: it has to have come to its end.
        began = time.perf_counter()
        await wait_until_caught_up(settings)
        waited = time.perf_counter() - began
        await run(again, system, "replay", "profiles", "--keep")
        parity = await compare(redis, live, again.generation, {})
        for difference in parity.differences[:20]:
            say(f"differs: {difference}")
    finally:
        await redis.aclose()
    section.add(
        "another rebuild, alone",
        f"{again.rate:,} events/s ({again.records:,} records)",
        "",
        f"{share_of(again.rate / bare)} of bare consumption alone",
    )
    arrived, accepted = (sum(getattr(one, name) for one in found) for name in ("arrived", "accepted"))
    section.add(
        "events that arrived meanwhile",
        f"{arrived:,} in the topic",
        "none missing",
        f"{accepted:,} accepted; consumed {waited:.1f} s after the last command; {live} and another rebuild: "
        f"{parity.different} of {parity.fields:,} fields differ",
        kept=parity.equal and arrived == accepted,
    )
