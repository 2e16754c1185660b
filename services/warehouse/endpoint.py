"""The read-only subset of ClickHouse's HTTP interface: enough for BI tools, drivers, curl and `animusic sql`.

`GET|POST /` or `/animusic` with the statement in `query`, the body, or both; `param_*`; `default_format` or a FORMAT
clause; settings (`asked_settings.py`); bodies compressed by HTTP's encodings or in ClickHouse's blocks; errors as
ClickHouse words them, with X-ClickHouse-Exception-Code. Also /ping, /replicas_status, /readyz, /healthz, /metrics.
There are no users: whoever can reach the port is answered, whatever name and password they send.
"""

import asyncio
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from services.common.clickhouse import DATABASE, ClickhouseError, Result
from services.common.http.server import Details, NotReady, readiness
from services.common.process.identity import ProcessIdentity
from services.warehouse.analysts import Analysts, Answer, Question
from services.warehouse.asked_settings import PARAMETERS
from services.warehouse.coding import as_blocks, encoded, encoding_for, worth_encoding
from services.warehouse.native import wants_block_info, with_block_info
from services.warehouse.requests import form_fields, is_form, refused, sent_text

# What a header can hold, for it comes back in one.
_QUERY_ID: Final = re.compile(r"[!-~]([ -~]*[!-~])?")
_DATABASES: Final = ("", DATABASE, "default")
_STATUS: Final = {
    **dict.fromkeys((6, 27, 36, 38, 41, 43, 53, 62, 69, 70, 72, 271, 386, 457, 467), 400),
    **dict.fromkeys((164, 291, 452, 497), 403),
    **dict.fromkeys((46, 47, 50, 60, 73, 81, 115), 404),
    160: 408,
    202: 503,
    307: 413,
}
_TYPES: Final = {
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
    "XML": "application/xml; charset=UTF-8",
    "Native": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "Arrow": "application/octet-stream",
    "ArrowStream": "application/octet-stream",
}


class Endpoint:
    """The routes. `analysts` is None where a ClickHouse server answers instead; `told_at` is then its address.

    `admin`: routes beside those of ClickHouse.
    """

    def __init__(
        self,
        analysts: Analysts | None,
        identity: ProcessIdentity,
        registry: CollectorRegistry,
        not_ready: NotReady,
        *,
        host: str,
        server_address: str,
        details: Details = dict,
        admin: Sequence[Route] = (),
    ) -> None:
        self._analysts = analysts
        self._identity = identity
        self._registry = registry
        self._not_ready = not_ready
        self._details = details
        self._admin = admin
        self._any_host = not _is_loopback(host)
        self._server_address = server_address
        self._seconds = Histogram("animusic_sql_seconds", "time to answer an analyst's statement", registry=registry)
        self._errors = Counter("animusic_sql_errors", "statements that were refused or failed", registry=registry)

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/ping", self._ping),
                # No table here is replicated, so none lags behind.
                Route("/replicas_status", self._ping),
                Route("/healthz", self._ping),
                Route("/readyz", self._readyz),
                Route("/metrics", self._metrics),
                *self._admin,
                Route("/", self._query, methods=["GET", "POST"]),
                Route("/{database}", self._query, methods=["GET", "POST"]),
            ]
        )

    async def _ping(self, _: Request) -> Response:
        return PlainTextResponse("Ok.\n")

    async def _readyz(self, _: Request) -> Response:
        ready, body = readiness(self._identity, self._not_ready, self._details)
        return JSONResponse(body, 200 if ready else 503)

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _query(self, request: Request) -> Response:
        asked = request.query_params.get("query_id", "")
        takes = _QUERY_ID.fullmatch(asked) is not None
        headers = {
            "X-ClickHouse-Query-Id": asked if takes else str(uuid.uuid4()),
            "X-ClickHouse-Server-Display-Name": DATABASE,
            "X-ClickHouse-Timezone": "UTC",
        }
        try:
            if asked and not takes:
                raise refused("query_id must be printable ASCII without a blank at either end", 36)
            with self._seconds.time():
                return await self._answer(request, headers)
        except ClickhouseError as error:
            self._errors.inc()
            headers["X-ClickHouse-Exception-Code"] = str(error.code or 1002)
            return PlainTextResponse(f"{error}\n", _STATUS.get(error.code, 500), headers)

    async def _answer(self, request: Request, headers: dict[str, str]) -> Response:
        self._check_caller(request)
        if self._analysts is None:
            raise refused(f"the analysts' database is the ClickHouse server at {self._server_address}; ask there", 497)
        values = {**request.query_params, **await form_fields(request)}
        _check_database(values.get("database") or request.path_params.get("database") or _header(request, "database"))
        statement = await _statement(request, values)
        if not statement.strip():
            return PlainTextResponse("Ok.\n", headers=headers)
        answer = await self._analysts.ask(_question(request, values, statement))
        headers["X-ClickHouse-Format"] = answer.format
        headers["X-ClickHouse-Summary"] = _summary(answer.result)
        body = await asyncio.to_thread(_sent, request, values, await _as_protocol(values, answer), headers)
        return Response(body, headers=headers, media_type=_TYPES.get(answer.format, "text/plain; charset=UTF-8"))

    def _check_caller(self, request: Request) -> None:
        """Any web page can reach a loopback port: what a page of another site asks is not answered."""
        if "origin" in request.headers or request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise refused("this endpoint does not answer web pages", 497)
        name = request.url.hostname or ""
        if not self._any_host and not _is_loopback(name):
            raise refused(f"this endpoint is not called {name}; ask 127.0.0.1", 497)


def _header(request: Request, name: str) -> str:
    return request.headers.get(f"x-clickhouse-{name}", "")


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_database(asked: str) -> None:
    if asked not in _DATABASES:
        raise refused(f"the only database here is {DATABASE}, not {asked}", 81)


async def _statement(request: Request, values: Mapping[str, str]) -> str:
    """ClickHouse's rule: what `query` holds, then the body."""
    text = "" if is_form(request) else await sent_text(request, blocks=_is_on(values, "decompress"))
    return "\n".join(part for part in (values.get("query", ""), text) if part)


def _question(request: Request, values: Mapping[str, str], statement: str) -> Question:
    return Question(
        statement,
        values.get("default_format") or _header(request, "format") or "TabSeparated",
        {name.removeprefix("param_"): value for name, value in values.items() if name.startswith("param_")},
        {name: value for name, value in values.items() if name not in PARAMETERS and not name.startswith("param_")},
    )


async def _as_protocol(values: Mapping[str, str], answer: Answer) -> bytes:
    if answer.format != "Native" or not wants_block_info(values.get("client_protocol_version", "")):
        return answer.result.body
    try:
        return await asyncio.to_thread(with_block_info, answer.result.body)
    except ValueError as error:
        raise refused(str(error), 48) from None


def _sent(request: Request, values: Mapping[str, str], body: bytes, headers: dict[str, str]) -> bytes:
    """The body as the client wants it: in ClickHouse's blocks, in an encoding of HTTP, or as it is."""
    if _is_on(values, "compress"):
        return as_blocks(body)
    encoding = encoding_for(request.headers.get("accept-encoding", ""))
    if encoding is None or not _is_on(values, "enable_http_compression") or not worth_encoding(body):
        return body
    headers["Content-Encoding"] = encoding
    return encoded(body, encoding)


def _is_on(values: Mapping[str, str], name: str) -> bool:
    return values.get(name, "0").lower() not in ("0", "false", "")


def _summary(result: Result) -> str:
    """What drivers show as the cost of a query; ClickHouse writes its numbers as strings."""
    numbers = {
        "read_rows": result.read_rows,
        "read_bytes": result.read_bytes,
        "written_rows": 0,
        "written_bytes": 0,
        "total_rows_to_read": result.read_rows,
        "result_rows": result.rows,
        "result_bytes": len(result.body),
        "elapsed_ns": round(result.seconds * 1e9),
    }
    return json.dumps({name: str(number) for name, number in numbers.items()}, separators=(",", ":"))
