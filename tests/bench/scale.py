"""R9: what a playlist costs when the catalogue is larger."""

import asyncio
import time

from services.local.parts import animusic
from tests.bench.listeners import listeners_who_heard
from tests.bench.machine import run_measured
from tests.bench.marks import wait_until_caught_up
from tests.bench.playlists import QUICK_REQUESTS, REQUESTS, cell, figures
from tests.bench.report import Section, say
from tests.bench.stage import Stage, load_random, song_ids
from tests.bench.system import Measured

SONGS = 14_885
HEARD = 300
LISTENERS = 8


async def measure(stage: Stage) -> Section:
    """The section. Starts a system of its own for each size above one; says how long that took."""
    section = Section(
        "Cost by size of the catalogue (R9)",
        f"Six arms, {HEARD} songs heard, one client, 200 events/s; a separate system for each size.",
    )
    for times in stage.scale:
        await _add(section, stage, times)
    return section


async def _add(section: Section, stage: Stage, times: int) -> None:
    own = Measured(stage.directory / f"times-{times}", catalogue="sample")
    # The shared system would compete for the cores.
    await stage.close()
    try:
        await own.begin()
        built = await _fill(own, times * SONGS)
        listeners = await listeners_who_heard(own.port, await song_ids(own), HEARD, LISTENERS, seed=times)
        await wait_until_caught_up(own.settings())
        requests = QUICK_REQUESTS if stage.quick else REQUESTS
        seen, short, _, cpu = await cell(own, listeners, listeners, 1, requests)
    finally:
        await own.end()
    beside = f"CPU ms: {cpu}; models built in {built:.0f} s"
    section.add(f"{times}× = {times * SONGS:,} songs", figures(seen, short), "", beside)


async def _fill(system: Measured, songs: int) -> float:
    """Replace the sample by a made-up catalogue of `songs` and build all arms; seconds that the builds took."""
    say(f"{songs:,} songs: import")
    await _run(system, "catalogue", "import", "synthetic", "--songs", str(songs), "--withdraw-missing", "--yes")
    began = time.perf_counter()
    for arm in ("tfidf", "node2vec"):
        say(f"{songs:,} songs: {arm} (minutes for the large ones)")
        await _run(system, "models", "build", arm)
    await load_random(system)
    return time.perf_counter() - began


async def _run(system: Measured, *arguments: str) -> None:
    await asyncio.to_thread(run_measured, animusic(*arguments), system.environment(), system.data_dir)
