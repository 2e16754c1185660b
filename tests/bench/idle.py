"""CPU and memory of each process of an idle sample system."""

import asyncio
from typing import Final

from tests.bench.machine import MIB, CpuMeter, pss_bytes
from tests.bench.report import Section, say
from tests.bench.stage import Stage
from tests.bench.system import Measured

LIMIT_SHARE: Final = 0.05
LIMIT_BYTES: Final = 700 * MIB
# Imports, model builds, JIT compilation and first merges are over by then.
SETTLE_SECONDS: Final = 60.0
MEASURED_SECONDS: Final = 60.0


async def measure(stage: Stage) -> Section:
    """The section. Starts a system of its own, with the sample catalogue and the default settings."""
    section = Section(
        "Idle",
        f"The sample system with default settings, {SETTLE_SECONDS:.0f} s after its start, over "
        f"{MEASURED_SECONDS:.0f} s without requests: share of one core and proportional set size of each "
        "process.",
    )
    system = Measured(stage.directory / "idle", catalogue="sample", probe=True)
    try:
        await system.begin()
        say(f"everything runs; waiting {SETTLE_SECONDS:.0f} s")
        await asyncio.sleep(SETTLE_SECONDS)
        pids = system.pids()
        meter = CpuMeter(pids)
        await asyncio.sleep(MEASURED_SECONDS)
        shares = meter.shares()
        sizes = {name: pss_bytes(pid) for name, pid in pids.items()}
    finally:
        await system.end()
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        section.add(name, f"{share:.1%} of a core", beside=f"{sizes[name] / MIB:,.0f} MB")
    total, memory = sum(shares.values()), sum(sizes.values())
    section.add("all, CPU", f"{total:.1%} of a core", f"≤ {LIMIT_SHARE:.0%}", kept=total <= LIMIT_SHARE)
    section.add("all, memory", f"{memory / MIB:,.0f} MB", f"≤ {LIMIT_BYTES // MIB} MB", kept=memory <= LIMIT_BYTES)
    return section
