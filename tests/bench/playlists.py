"""R9: playlists of six arms, by songs heard and clients, with events flowing meanwhile."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import orjson

from tests.bench import stated
from tests.bench.flow import Flowed, flowing
from tests.bench.http_load import Outcome, fire
from tests.bench.listeners import Listener, playlist_request
from tests.bench.machine import CpuMeter, milliseconds, share_of
from tests.bench.report import Section, say
from tests.bench.stage import Stage
from tests.bench.system import Measured

RATE = 200
HEARD = (0, 30, 300, 2_000)
CLIENTS = (1, 8, 32)
REQUESTS, QUICK_REQUESTS = 2_000, 200
ARMS = 6
OTHERS = ", events of others"


@dataclass(frozen=True)
class Promise:
    """What R9 promises for one cell: playlists a second, or quantiles in ms."""

    text: str
    per_second: float = 0.0
    p50_ms: float = float("inf")
    p99_ms: float = float("inf")

    def kept(self, seen: Outcome) -> bool:
        """Whether a run keeps it, without an error."""
        fast = seen.quantile(0.5) <= self.p50_ms and seen.quantile(0.99) <= self.p99_ms
        return fast and seen.per_second >= self.per_second and not seen.errors


PROMISES = {
    (2_000, 1): Promise("R9: p50 ≤ 15 ms, p99 ≤ 50 ms", p50_ms=15, p99_ms=50),
    (30, 8): Promise("R9: ≥ 200/s", per_second=200),
    (2_000, 32): Promise("R9: ≥ 110/s", per_second=110),
}
BESIDE = {
    (0, 1): stated.AM_PLAYLISTS,
    (30, 8): stated.GORSE_30,
    (300, 8): stated.GORSE_300,
    (2_000, 32): stated.GORSE_2000,
}


async def measure(stage: Stage) -> Section:
    """The section. Restarts the system with two recommender processes for the promised cells, and back with one."""
    requests = QUICK_REQUESTS if stage.quick else REQUESTS
    section = Section(
        "Playlists of six arms (R9)",
        f"`POST /v1/playlists` through the gateway with 14,885 songs, {requests:,} requests a row, while {RATE} "
        "events/s change the profiles of these listeners. tf-idf and node2vec are built; MiniLM and MPNet are random "
        "clustered vectors. *Events of others*: these listeners' profiles do not change. *Short*: playlists with fewer "
        "than six songs. *CPU ms*: of processes for one playlist, the events included; it depends less than "
        "latencies on the machine's other work.",
    )
    system = await stage.system()
    for heard in HEARD:
        await stage.listeners(heard)
    loads: list[tuple[float, float]] = []
    for heard in HEARD:
        for clients in CLIENTS:
            loads.append(await _add_cell(section, stage, system, heard, clients))
    for clients in (1, 32):
        loads.append(await _add_cell(section, stage, system, 2_000, clients, suffix=OTHERS))
    say("restarting with two recommender processes")
    await system.again(recommenders=2)
    for heard, clients in PROMISES:
        loads.append(await _add_cell(section, stage, system, heard, clients, suffix=", two recommenders"))
    await system.again()
    generator, rates = max(share for share, _ in loads), [rate for _, rate in loads]
    section.add("load generator, at most", share_of(generator), "", f"{min(rates):.0f} to {max(rates):.0f} events/s")
    return section


async def _add_cell(
    section: Section, stage: Stage, system: Measured, heard: int, clients: int, *, suffix: str = ""
) -> tuple[float, float]:
    """Add a row. The generator's share of one core, and the events a second that flowed."""
    requests = QUICK_REQUESTS if stage.quick else REQUESTS
    listeners = await stage.listeners(heard)
    # Listeners without a history cannot be listening to something that they have heard: others make the noise.
    noise = listeners if heard and suffix != OTHERS else await stage.listeners(30)
    seen, short, flowed, cpu = await cell(system, listeners, noise, clients, requests)
    promise = PROMISES.get((heard, clients))
    section.add(
        f"{heard:,} heard, {clients} client{'s' if clients > 1 else ''}{suffix}",
        figures(seen, short),
        promise.text if promise else "",
        "; ".join(filter(None, [f"CPU ms: {cpu}", "" if suffix else BESIDE.get((heard, clients), "")])),
        kept=promise.kept(seen) if promise else None,
    )
    return seen.generator_share, flowed.per_second


async def cell(
    system: Measured, listeners: list[Listener], noise: list[Listener], clients: int, requests: int
) -> tuple[Outcome, int, Flowed, str]:
    """One cell: (what was seen, playlists of fewer than six songs, what flowed, CPU in words)."""
    short = 0

    def count_short(status: int, body: bytes) -> None:
        nonlocal short
        short += status == 201 and len(orjson.loads(body)["slots"]) < ARMS

    async with flowing(system.port, RATE, noise) as flowed:
        await fire(system.port, islice(_asked(listeners), len(listeners)), clients)  # each profile once: not timed
        meter = CpuMeter(system.pids())
        seen = await fire(system.port, islice(_asked(listeners), requests), clients, count_short)
        cpu = milliseconds(meter.seconds(), requests)
    return seen, short, flowed, cpu


def _asked(listeners: list[Listener]) -> Iterator[bytes]:
    raw = [playlist_request(listener) for listener in listeners]
    while True:
        yield from raw


def figures(seen: Outcome, short: int) -> str:
    """`p50 8.1 ms, p99 19.0 ms, 120/s`, and errors and short playlists if there were any."""
    text = f"p50 {seen.quantile(0.5):.1f} ms, p99 {seen.quantile(0.99):.1f} ms, {seen.per_second:,.0f}/s"
    text += f", {seen.errors} errors {seen.statuses}" if seen.errors else ""
    return f"{text}, {short} short" if short else text
