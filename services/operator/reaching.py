"""Views follow the log: right after a start, or after a build, ClickHouse may lack what the log has already.

Whoever answers from ClickHouse waits a moment for it, and says what is missing when it does not come.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import httpx
from aiokafka.errors import KafkaError

from contracts.marks import MarkName
from services.common.settings import Settings
from services.operator.status.sampling import sample_log
from services.operator.status.stores import ClickhouseProbe

_ASK_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.2
Say = Callable[[str], None]


async def warehouse_lacks(settings: Settings, topics: Sequence[str], seconds: float, say: Say) -> int:
    """Wait until ClickHouse has all that these topics hold now; how many records it lacks after `seconds`.

    0 as well where the log cannot be asked: an analyst's machine may reach ClickHouse alone. `say` is told once when
    there is something to wait for. Raises nothing for what does not answer: the question itself then says it.
    """
    try:
        log = await asyncio.wait_for(sample_log(settings.kafka, list(topics)), _ASK_SECONDS)
    except (KafkaError, OSError, LookupError, TimeoutError):
        return 0
    ends = {MarkName(log.ids[topic], number): end for (topic, number), end in log.ends.items()}
    starts = {MarkName(log.ids[topic], number): start for (topic, number), start in log.starts.items()}
    probe, deadline, told = ClickhouseProbe(settings.clickhouse, _ASK_SECONDS), time.monotonic() + seconds, False
    try:
        while True:
            lacks = _lacks(starts, ends, await _marks(probe))
            if not lacks or time.monotonic() > deadline:
                return lacks
            if not told:
                say(f"waiting for the warehouse: {lacks:,} records of {', '.join(topics)} are not in it yet")
                told = True
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        await probe.aclose()


async def _marks(probe: ClickhouseProbe) -> dict[MarkName, int]:
    try:
        return await probe.marks()
    except (httpx.HTTPError, ValueError):
        return {}


def _lacks(starts: dict[MarkName, int], ends: dict[MarkName, int], marks: dict[MarkName, int]) -> int:
    return sum(max(0, end - max(starts[name], marks.get(name, 0))) for name, end in ends.items())
