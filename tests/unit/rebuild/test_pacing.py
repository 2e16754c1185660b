"""A pace holds back to the rate."""

import asyncio
import time

from services.rebuild.pacing import Pace


async def test_it_takes_at_least_as_long_as_the_rate_says():
    began = time.monotonic()
    pace = Pace(1_000)
    for _ in range(4):
        await pace.keep(50)
    assert time.monotonic() - began >= 0.2


async def test_without_a_burst_what_was_left_unused_is_gone():
    pace = Pace(1_000, burst_seconds=0.0)
    await asyncio.sleep(0.1)
    began = time.monotonic()
    await pace.keep(100)
    assert time.monotonic() - began >= 0.1


async def test_no_rate_holds_nothing_back():
    began = time.monotonic()
    pace = Pace(None)
    for _ in range(100):
        await pace.keep(1_000_000)
    assert time.monotonic() - began < 60
