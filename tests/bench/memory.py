"""Memory of each process after the load, and how long starts take."""

import time

import orjson

from tests.bench.http_load import ask_once
from tests.bench.listeners import guests, playlist_request
from tests.bench.machine import MIB, pss_bytes
from tests.bench.report import Section, say
from tests.bench.stage import Stage
from tests.bench.system import Measured

LIMIT_BYTES = 3 << 30


async def measure(stage: Stage) -> Section:
    """The section. Restarts the system once to time a second start."""
    section = Section(
        "Memory and starts",
        "Proportional set size of each process with 14,885 songs and six arms, after the sections above. Starts: until "
        "everything is ready, with Kafka's jars in the cache.",
    )
    system = await stage.system()
    await stage.songs()
    sizes = {name: pss_bytes(pid) for name, pid in system.pids().items()}
    total = sum(sizes.values())
    each = (f"{name} {size / MIB:,.0f}" for name, size in sorted(sizes.items(), key=lambda item: -item[1]))
    section.add("memory", f"{total / MIB:,.0f} MB", "R24: ≤ 3 GB", f"MB: {', '.join(each)}", kept=total <= LIMIT_BYTES)
    say("starting again on the same data")
    again = await system.again()
    first_playlist = await _first_playlist(system)
    if system.new:
        first = system.starts[0]
        what = "first start: import of the catalogue, tf-idf and node2vec built"
        section.add(what, f"{first:.1f} s", "R24: ≤ 300 s", kept=first <= 300)
    section.add(
        "next start on the same data",
        f"{again:.1f} s",
        "≤ 20 s",
        f"first playlist {first_playlist:.0f} ms after",
        kept=again <= 20,
    )
    return section


async def _first_playlist(system: Measured) -> float:
    began = time.perf_counter()
    guest = (await guests(system.port, 1))[0]
    status, body = await ask_once(system.port, playlist_request(guest))
    if status != 201:
        raise RuntimeError(f"no playlist after a start: {status} {orjson.loads(body)}")
    return (time.perf_counter() - began) * 1e3
