"""The only client of the recommender. It passes bodies on as bytes, with a timeout.

It uses aiohttp, because every playlist passes through here: a call to a local server took 0.12 ms of CPU, with httpx
1.2 ms, with httpcore 0.76 ms.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import orjson
from pydantic import BaseModel
from starlette.responses import Response
from yarl import URL

from contracts.arms import ARMS
from contracts.http import MarkAnswer, MarkRequest, MarkToReach
from contracts.placement import shard_of
from contracts.tokens import Receipt
from services.common.process.identity import ProcessIdentity
from services.gateway.metrics import Metrics
from services.gateway.problems import Refused, recommender_unavailable

_JSON: Final = {"content-type": "application/json"}
# Below uvicorn's 5 s, so that no connection is reused while the server closes it.
KEEP_ALIVE_SECONDS: Final = 4.0
READY_SECONDS: Final = 2.0
CONNECTIONS: Final = 256


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer below 500: its status and its JSON, unchanged. `timing`: its Server-Timing, the time of each arm."""

    status: int
    body: bytes
    timing: str = ""

    def response(self) -> Response:
        """The same answer for the gateway's client."""
        headers = {"Server-Timing": self.timing} if self.timing else None
        return Response(self.body, self.status, headers, media_type="application/json")

    def json(self) -> Any:
        """The parsed body."""
        return orjson.loads(self.body)


def mark_of(receipt: Receipt) -> MarkToReach:
    """The mark that the profile must reach to reflect a receipt."""
    return MarkToReach(topic_id=receipt.topic_id, partition=receipt.partition, offset=receipt.offset)


class RecommenderClient:
    """Calls the recommender that serves a user's shard. Raises Refused 503 without a valid answer."""

    def __init__(self, urls: list[str], *, timeout_seconds: float, metrics: Metrics, installation: str = "") -> None:
        """`installation`: the installation that the recommenders must belong to; "" accepts any."""
        self._urls = [url.rstrip("/") for url in urls]
        self._expected = ProcessIdentity("recommender", installation)
        self._timeout = timeout_seconds
        self._metrics = metrics
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Create the connection pool; it opens no connection yet."""
        connector = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE_SECONDS)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)

    async def close(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()

    async def get(self, user_id: str, path: str, *ids: str, query: str = "") -> Answer:
        """GET a path with `{}` for each id."""
        return await self._ask("GET", user_id, path, ids, query=query)

    async def post(self, user_id: str, path: str, *ids: str, body: BaseModel) -> Answer:
        """POST a model to a path with `{}` for each id."""
        return await self._ask("POST", user_id, path, ids, body=body.model_dump_json().encode())

    async def wait_for(self, user_id: str, receipt: Receipt, timeout_ms: int) -> MarkAnswer:
        """Wait until the user's profile reflects a receipt, for at most `timeout_ms`."""
        ask = MarkRequest(user_id=user_id, mark=mark_of(receipt), timeout_ms=timeout_ms)
        raw = ask.model_dump_json().encode()
        spare = self._timeout + timeout_ms / 1000
        answer = await self._ask("POST", user_id, "/internal/await", (), body=raw, within=spare)
        if answer.status != 200:
            raise recommender_unavailable(f"answered {answer.status} when asked for a mark")
        return MarkAnswer.model_validate_json(answer.body)

    async def trouble(self) -> dict[str, str | None]:
        """Address -> why that recommender cannot serve now, or None."""
        found = await asyncio.gather(*(self._trouble_of(url) for url in self._urls))
        return dict(zip(self._urls, found, strict=True))

    async def _ask(
        self,
        method: str,
        user_id: str,
        path: str,
        ids: tuple[str, ...],
        *,
        query: str = "",
        body: bytes | None = None,
        within: float | None = None,
    ) -> Answer:
        target = path.format(*(quote(each, safe="") for each in ids)) + (f"?{query}" if query else "")
        url = URL(self._urls[shard_of(user_id) % len(self._urls)] + target, encoded=True)
        began = time.monotonic()
        outcome = "unreachable"
        try:
            limit = aiohttp.ClientTimeout(total=within or self._timeout)
            async with self._pool.request(method, url, data=body, headers=_JSON, timeout=limit) as answer:
                raw = await answer.read()
                outcome = str(answer.status)
        except TimeoutError:
            outcome = "timeout"
            raise recommender_unavailable("did not answer in time") from None
        except aiohttp.ClientError as error:
            raise recommender_unavailable("cannot be reached") from error
        finally:
            self._metrics.recommender.labels(path, outcome).observe(time.monotonic() - began)
        usable = _usable(answer, raw)
        for arm, seconds in turns_of(usable.timing):
            self._metrics.arm_turn(arm, seconds)
        return usable

    async def _trouble_of(self, url: str) -> str | None:
        try:
            limit = aiohttp.ClientTimeout(total=READY_SECONDS)
            async with self._pool.get(URL(url + "/readyz", encoded=True), timeout=limit) as answer:
                raw = await answer.read()
        except TimeoutError:
            return f"no answer within {READY_SECONDS:g} s"
        except aiohttp.ClientError as error:
            return f"cannot be reached: {error}"
        return _readiness_problem(self._expected, answer.status, raw)

    @property
    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the gateway's parts were not started")
        return self._session


def turns_of(timing: str) -> Iterator[tuple[str, float]]:
    """(arm, seconds) for each arm in a Server-Timing header (milliseconds there); other entries are ignored."""
    for part in timing.split(","):
        arm, _, duration = part.strip().partition(";dur=")
        if arm in ARMS and duration:
            yield arm, float(duration) / 1e3


def _readiness_problem(expected: ProcessIdentity, status: int, raw: bytes) -> str | None:
    """Why the answer of /readyz is not that of a ready recommender, or None. Any HTTP server may answer 200."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = None
    differs = expected.differs(body if isinstance(body, dict) else {})
    if differs is not None:
        return f"{differs} (status {status})"
    return None if status == 200 else f"not ready ({status}): {raw[:500].decode('utf-8', 'replace')}"


def _usable(answer: aiohttp.ClientResponse, raw: bytes) -> Answer:
    if answer.status < 500:
        if answer.content_type == "application/json":
            return Answer(answer.status, raw, answer.headers.get("server-timing", ""))
        if answer.status == 404:
            raise Refused(404, "not_found", "the recommender has no such path")
        raise recommender_unavailable(f"answered {answer.status} without JSON")
    refused = recommender_unavailable(f"answered {answer.status}")
    if answer.status == 503:
        refused = Refused(503, *_problem_of(raw, refused), retry_after=float(answer.headers.get("retry-after", "1")))
    raise refused


def _problem_of(raw: bytes, otherwise: Refused) -> tuple[str, str]:
    try:
        problem = orjson.loads(raw)
        return str(problem["error"]), str(problem["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return otherwise.error, otherwise.message
