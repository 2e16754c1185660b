"""Waits for a store that is behind the log, as it may be right after a start or a build.

At a first start ClickHouse may listen later than the gateway. A command that answers from a store waits for it,
and prints what is missing when the store does not catch up.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final
from urllib.parse import urlsplit

import httpx
from aiokafka.errors import KafkaError

from contracts.marks import MarkName
from services.common.settings import ClickhouseSettings, Settings
from services.operator.readers.clickhouse import ClickhouseReader
from services.operator.readers.log import Offsets, offsets

_ASK_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1
Say = Callable[[str], None]


async def caught_up(log: Offsets, marks: Callable[[], Awaitable[Mapping[MarkName, int]]], seconds: float) -> int:
    """Wait until a store's marks have reached these ends; how many records it lacks after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        lacks = log.behind(await marks())
        if not lacks or time.monotonic() > deadline:
            return lacks
        await asyncio.sleep(_POLL_SECONDS)


async def warehouse_lacks(settings: Settings, topics: Sequence[str], seconds: float, say: Say) -> int:
    """Wait until ClickHouse has all that these topics hold now; how many records it lacks after `seconds`.

    0 as well where the log cannot be asked: an analyst's machine may reach ClickHouse alone. `say` is called once when
    this has to wait. Raises ConnectionError when the log answers and ClickHouse does not.
    """
    try:
        log = await asyncio.wait_for(offsets(settings.kafka, topics), _ASK_SECONDS)
    except (KafkaError, OSError, LookupError, TimeoutError):
        return 0
    await warehouse_answers(settings.clickhouse, seconds, say)
    async with aclosing(ClickhouseReader(settings.clickhouse, _ASK_SECONDS)) as warehouse:

        async def marks() -> Mapping[MarkName, int]:
            try:
                return await warehouse.marks()
            except (httpx.HTTPError, ValueError):
                return {}

        if lacks := log.behind(await marks()):
            say(f"waiting for the warehouse: {lacks:,} records of {', '.join(topics)} are not in it yet")
        return await caught_up(log, marks, seconds)


async def warehouse_answers(settings: ClickhouseSettings, seconds: float, say: Say) -> None:
    """Wait until ClickHouse answers, whatever it says. Raises ConnectionError when it does not within `seconds`."""
    deadline, announced = time.monotonic() + seconds, False
    address = urlsplit(settings.dsn).netloc.rpartition("@")[2]
    async with aclosing(ClickhouseReader(settings, _ASK_SECONDS)) as warehouse:
        while True:
            try:
                await warehouse.marks()
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise ConnectionError(
                        f"the warehouse did not answer at {address} within {seconds:.0f} s"
                    ) from error
            except (httpx.HTTPError, ValueError):
                return
            else:
                return
            if not announced:
                say(f"waiting for the warehouse: nothing answers at {address} yet")
                announced = True
            await asyncio.sleep(_POLL_SECONDS)
