"""Redriving at a pace: consumers that just came back are not flooded."""

import time

import pytest

from contracts.topics import FEEDBACK
from services.common.kafka import read_to_end
from tests.connected.operator_dlq.house import House
from tests.connected.operator_dlq.test_dlq import like, spoiled

pytestmark = pytest.mark.connected

LETTERS, RATE = 12, 6.0


async def test_a_rate_spreads_the_records_evenly(home: House):
    await home.put([(f"u{number}", spoiled(like(f"u{number}"))) for number in range(LETTERS)])
    await home.settled()
    words = ("dlq", "redrive", "--all", "--set", "schema=1", "--rate", str(RATE))
    assert "12 would be redriven" in await home.animusic(*words, "--dry-run")
    began = time.monotonic()
    assert "12 redriven, 0 kept" in await home.animusic(*words)
    # The last ones are not waited for.
    assert time.monotonic() - began >= (LETTERS - RATE / 2) / RATE
    batches = [batch async for batch in read_to_end(home.log, FEEDBACK.name)]
    times = sorted(record.timestamp for batch in batches for record in batch)[LETTERS:]
    assert len(times) == LETTERS
    most = max(sum(at <= other < at + 1_000 for other in times) for at in times)
    assert most <= RATE + RATE / 2, times
    assert all(dead_letter.state == "redriven" for dead_letter in await home.dead_letters())
