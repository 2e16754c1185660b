"""ClickHouse over HTTP: the warehouse's own endpoint, or a server; and waiting for it.

At a first start ClickHouse may listen later than the gateway. A command that answers from a store waits for it, and
prints what is missing when the store does not catch up.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx
from aiokafka.errors import KafkaError

from contracts.marks import MarkName
from services.common.settings import ClickhouseSettings, Settings
from services.operator.readers.log import Offsets, offsets

_MARKS: Final = "SELECT topic_id, `partition`, mark FROM animusic.marks_clean"
_ESCAPED: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class ClickhouseRefused(ValueError):
    """ClickHouse refused a statement; `str()` is the first line of what it says."""


class ClickhouseReader:
    """Runs statements; `{name:Type}` in one takes its value from the parameters. A list is an Array(String).

    Every method may raise httpx.HTTPError and ClickhouseRefused.
    """

    def __init__(self, settings: ClickhouseSettings, seconds: float) -> None:
        """`seconds`: how long an answer may take."""
        parts = urlsplit(settings.dsn)
        scheme = "https" if parts.scheme in ("https", "clickhouses") else "http"
        url = urlunsplit((scheme, parts.netloc, "/", "", ""))
        # Reading the system's certificates takes longer than the whole question.
        self._client = httpx.AsyncClient(base_url=url, timeout=seconds, verify=scheme == "https")

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def rows(self, statement: str, **parameters: object) -> list[dict[str, Any]]:
        """A dictionary a row, as JSON says it: numbers of 64 bits may be text."""
        answer = await self._answer(statement, "JSON", parameters)
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    async def arrow(self, statement: str, **parameters: object) -> list[dict[str, Any]]:
        """A dictionary a row, by way of Arrow: bytes are bytes, and numbers are numbers."""
        # Imported here: the probe never needs it, and it takes 40 MB.
        import pyarrow as pa

        answer = await self._answer(statement, "ArrowStream", parameters)
        found: list[dict[str, Any]] = (
            pa.ipc.open_stream(answer.content).read_all().to_pylist() if answer.content else []
        )
        return found

    async def marks(self) -> dict[MarkName, int]:
        """How far the tables reach."""
        return {MarkName(r["topic_id"], int(r["partition"])): int(r["mark"]) for r in await self.rows(_MARKS)}

    async def _answer(self, statement: str, output: str, parameters: dict[str, object]) -> httpx.Response:
        # In the body, since a list of users is longer than an address may be.
        fields = {"query": statement, **{f"param_{name}": _text(value) for name, value in parameters.items()}}
        parts = {name: (None, value) for name, value in fields.items()}
        answer = await self._client.post("/", params={"default_format": output}, files=parts)
        if answer.is_error:
            message = answer.text.strip()
            raise ClickhouseRefused(
                message.splitlines()[0][:500] if message else f"ClickHouse answers {answer.status_code}"
            )
        return answer


def _text(value: object) -> str:
    """A parameter as ClickHouse reads it: an array literal, or plain text; escaped as in a tab-separated file."""
    if isinstance(value, list):
        value = "[" + ",".join("'" + str(one).replace("\\", "\\\\").replace("'", "\\'") + "'" for one in value) + "]"
    return str(value).translate(_ESCAPED)


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
