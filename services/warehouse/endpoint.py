"""The read-only subset of ClickHouse's HTTP interface: enough for clickhouse-connect, curl and `animusic sql`.

`GET|POST /` or `/animusic` with the statement in `query`, the body, or both; `param_*`; `default_format` or a FORMAT
clause; errors as ClickHouse words them, with X-ClickHouse-Exception-Code. Also /ping, /readyz, /healthz, /metrics.
"""

import email
import json
import uuid
from collections.abc import Sequence
from email.message import Message
from ipaddress import ip_address
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from services.common.clickhouse import DATABASE, ClickhouseError
from services.common.health import NotReady, Standing, readiness
from services.warehouse.analysts import Analysts

_LONGEST_BODY: Final = 1_000_000
_DATABASES: Final = ("", DATABASE, "default")
# What a client may send beside the statement: how it wants the answer, and who it is. Anything else is a setting.
_HARMLESS: Final = frozenset(
    {
        *("query", "database", "default_format", "query_id", "user", "password", "quota_key", "role"),
        *("session_id", "session_timeout", "session_check", "compress", "decompress", "enable_http_compression"),
        *("client_protocol_version", "wait_end_of_query", "buffer_size", "add_http_cors_header"),
        *("send_progress_in_http_headers", "http_headers_progress_interval_ms", "http_zlib_compression_level"),
    }
)
_STATUS: Final = {
    **dict.fromkeys((6, 27, 36, 38, 41, 43, 53, 62, 69, 70, 72, 386, 457), 400),
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
        registry: CollectorRegistry,
        not_ready: NotReady,
        *,
        host: str,
        told_at: str,
        standing: Standing = dict,
        admin: Sequence[Route] = (),
    ) -> None:
        self._analysts = analysts
        self._registry = registry
        self._not_ready = not_ready
        self._standing = standing
        self._admin = admin
        self._any_host = not _is_loopback(host)
        self._told_at = told_at
        self._seconds = Histogram("animusic_sql_seconds", "time to answer an analyst's statement", registry=registry)
        self._errors = Counter("animusic_sql_errors", "statements that were refused or failed", registry=registry)

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/ping", self._ping),
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
        ready, said = readiness(self._not_ready, self._standing)
        return JSONResponse(said, 200 if ready else 503)

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _query(self, request: Request) -> Response:
        query_id = request.query_params.get("query_id") or str(uuid.uuid4())
        headers = {
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Server-Display-Name": DATABASE,
            "X-ClickHouse-Timezone": "UTC",
        }
        try:
            with self._seconds.time():
                return await self._answer(request, headers)
        except ClickhouseError as error:
            self._errors.inc()
            headers["X-ClickHouse-Exception-Code"] = str(error.code or 1002)
            return PlainTextResponse(f"{error}\n", _STATUS.get(error.code, 500), headers)

    async def _answer(self, request: Request, headers: dict[str, str]) -> Response:
        self._check_caller(request)
        if self._analysts is None:
            raise _refused(f"the analysts' database is the ClickHouse server at {self._told_at}; ask there", 497)
        values = {**request.query_params, **await _form(request)}
        _check_values(values, request.path_params.get("database", request.headers.get("x-clickhouse-database", "")))
        statement = await _statement(request, values)
        if not statement.strip():
            return PlainTextResponse("Ok.\n", headers=headers)
        named = [name for name in values if name.startswith("param_")]
        parameters = {name.removeprefix("param_"): values[name] for name in named}
        default_format = values.get("default_format") or request.headers.get("x-clickhouse-format", "TabSeparated")
        answer = await self._analysts.ask(statement, parameters, default_format)
        headers["X-ClickHouse-Format"] = answer.format
        headers["X-ClickHouse-Summary"] = json.dumps({"result_bytes": str(len(answer.body))})
        return Response(answer.body, headers=headers, media_type=_TYPES.get(answer.format, "text/plain; charset=UTF-8"))

    def _check_caller(self, request: Request) -> None:
        """Any web page can reach a loopback port: what a page of another site asks is not answered."""
        if "origin" in request.headers or request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise _refused("this endpoint does not answer web pages", 497)
        name = request.url.hostname or ""
        if not self._any_host and not _is_loopback(name):
            raise _refused(f"this endpoint is not called {name}; ask 127.0.0.1", 497)


def _refused(reason: str, code: int) -> ClickhouseError:
    return ClickhouseError(f"Code: {code}. DB::Exception: Refused: {reason}.")


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_values(values: dict[str, str], database: str) -> None:
    asked = values.get("database") or database
    if asked not in _DATABASES:
        raise _refused(f"the only database here is {DATABASE}, not {asked}", 81)
    settings = [name for name in values if name not in _HARMLESS and not name.startswith("param_")]
    if settings:
        raise _refused(f"the setting {settings[0]} cannot be changed: this endpoint is read-only", 164)


async def _statement(request: Request, values: dict[str, str]) -> str:
    """ClickHouse's rule: what `query` holds, then the body."""
    body = b"" if _is_form(request) else await _body(request)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise _refused("the statement is not UTF-8", 62) from None
    return "\n".join(part for part in (values.get("query", ""), text) if part)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_BODY:
            raise _refused(f"the request is longer than {_LONGEST_BODY} bytes", 307)
    return bytes(body)


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith("multipart/form-data")


async def _form(request: Request) -> dict[str, str]:
    """The fields of a multipart form: clickhouse-connect sends one when the statement or its parameters are long."""
    if not _is_form(request):
        return {}
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + await _body(request)).get_payload()
    fields: dict[str, str] = {}
    for part in parts if isinstance(parts, list) else []:
        name = part.get_param("name", header="content-disposition") if isinstance(part, Message) else None
        content = part.get_payload(decode=True) if isinstance(part, Message) else None
        if isinstance(name, str) and isinstance(content, bytes):
            fields[name] = content.decode(errors="replace")
    return fields
