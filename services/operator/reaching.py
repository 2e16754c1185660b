"""Views follow the log: right after a start, or after a build, ClickHouse may lack what the log has already.

At a first start it does not even listen when the gateway is ready.

Whoever answers from ClickHouse waits a moment for it, and says what is missing when it does not come.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

import httpx
from aiokafka.errors import KafkaError

from contracts.marks import MarkName
from services.common.settings import ClickhouseSettings, Settings
from services.operator.status.sampling import sample_log
from services.operator.status.stores import ClickhouseProbe

_ASK_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.2
Say = Callable[[str], None]


async def warehouse_lacks(settings: Settings, topics: Sequence[str], seconds: float, say: Say) -> int:
    """Wait until ClickHouse has all that these topics hold now; how many records it lacks after `seconds`.

    0 as well where the log cannot be asked: an analyst's machine may reach ClickHouse alone. `say` is told once when
    there is something to wait for. Raises ConnectionError when the log answers and ClickHouse does not.
    """
    try:
        log = await asyncio.wait_for(sample_log(settings.kafka, list(topics)), _ASK_SECONDS)
    except (KafkaError, OSError, LookupError, TimeoutError):
        return 0
    ends = {MarkName(log.ids[topic], number): end for (topic, number), end in log.ends.items()}
    starts = {MarkName(log.ids[topic], number): start for (topic, number), start in log.starts.items()}
    deadline, told = time.monotonic() + seconds, False
    await warehouse_answers(settings.clickhouse, seconds, say)
    probe = ClickhouseProbe(settings.clickhouse, _ASK_SECONDS)
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


async def warehouse_answers(settings: ClickhouseSettings, seconds: float, say: Say) -> None:
    """Wait until ClickHouse answers, whatever it says. Raises ConnectionError when it does not within `seconds`."""
    probe, deadline, told = ClickhouseProbe(settings, _ASK_SECONDS), time.monotonic() + seconds, False
    address = urlsplit(settings.dsn).netloc.rpartition("@")[2]
    try:
        while True:
            try:
                await probe.marks()
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise ConnectionError(
                        f"the warehouse did not answer at {address} within {seconds:.0f} s"
                    ) from error
            except (httpx.HTTPError, ValueError):
                return
            else:
                return
            if not told:
                say(f"waiting for the warehouse: nothing answers at {address} yet")
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
