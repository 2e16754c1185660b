"""What tools and drivers send to the SQL endpoint, each as it sends it; comments say where that was read or seen."""

import gzip
from typing import Any, NamedTuple

import httpx
import pytest

from services.warehouse.coding import as_blocks, of_blocks

pytestmark = pytest.mark.connected


class Sent(NamedTuple):
    """One request of a client, and a piece of the answer that it needs."""

    who: str
    query: str
    values: dict[str, str]
    answered: bytes
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody changes it


# clickhouse-jdbc 0.10 with clickhouse.jdbc.v1=true (DBeaver's driver until 2025), seen on the wire: its first question.
V1_HELLO = (
    "select currentUser() user, timezone() timezone, version() version, toUInt8(ifnull((select value from "
    "system.settings where name = 'readonly'), '0')) as readonly FORMAT RowBinaryWithNamesAndTypes"
)
V1_INDEXES = (
    "select database, table, name, column_position, sum(rows), uniqExact(partition) "
    "from system.projection_parts_columns where active = 1 and database like 'animusic' "
    "and table like 'feedback' group by all"
)
# clickhouse-jdbc 0.10, its usual driver (Metabase, DBeaver): getTables.
V2_TABLES = (
    "SELECT '' AS TABLE_CAT, t.database AS TABLE_SCHEM, t.name AS TABLE_NAME, d.engine AS TYPE_SCHEM "
    "FROM system.tables t JOIN system.databases d ON t.database = d.name "
    "WHERE t.database ILIKE 'animusic' AND t.name = 'feedback'"
)
# DBeaver's ClickhouseMetaModel.prepareTableLoadStatement.
DBEAVER = (
    "SELECT name as TABLE_NAME, engine as TABLE_TYPE, database as TABLE_SCHEM,comment as REMARKS, * FROM system.tables "
    "WHERE database = 'animusic' and name='feedback'"
)
JDBC = {"compress": "1", "extremes": "0", "query_id": "q1", "session_id": "s", "session_timeout": "60"}
TABIX = {
    **{"add_http_cors_header": "1", "log_queries": "1", "output_format_json_quote_64bit_integers": "1"},
    **{"output_format_json_quote_denormals": "1", "database": "animusic", "result_overflow_mode": "throw"},
    **{"timeout_overflow_mode": "throw", "max_result_rows": "10000", "user": "default", "password": ""},
}
NODE = {
    **{"query_id": "q2", "database": "animusic", "default_format": "JSONEachRow", "wait_end_of_query": "1"},
    **{"send_progress_in_http_headers": "1", "http_headers_progress_interval_ms": "1000", "role": "reader"},
    **{"date_time_input_format": "best_effort", "log_comment": "a page", "extremes": "0", "session_check": "1"},
}
GO = {
    "default_format": "Native",
    "client_protocol_version": "54483",
    "max_execution_time": "65",
    "database": "animusic",
}

CLIENTS = [
    Sent("clickhouse-jdbc v1", V1_HELLO, JDBC, b"default"),
    Sent("clickhouse-jdbc v1", V1_INDEXES, JDBC, b""),
    Sent("clickhouse-jdbc v2", V2_TABLES, {"compress": "1"}, b"feedback", {"X-ClickHouse-Format": "JSON"}),
    Sent("DBeaver", DBEAVER, JDBC, b"feedback"),
    Sent("Metabase", "SHOW DATABASES", JDBC, b"animusic"),
    # clickhouse-js 1.x: client-common/src/utils/url.ts, and its query of this table seen on the wire.
    Sent("clickhouse-js", "SELECT toUInt8(1) AS a", NODE, b'{"a":1}\n'),
    # Grafana's own data source over HTTP speaks by clickhouse-go: conn_http.go, queryHello.
    Sent("clickhouse-go", "SELECT displayName(), version(), revision(), timezone()", GO, b"UTC"),
    Sent("clickhouse-go, LZ4", "SELECT 'x'", {**GO, "compress": "1", "network_compression_method": "LZ4"}, b"x"),
    # Altinity's Grafana plugin: src/datasource/…: FORMAT JSON in the statement, names in headers.
    Sent(
        "Altinity",
        "SELECT version() FORMAT JSON",
        {"add_http_cors_header": "1"},
        b'"rows": 1',
        {"X-ClickHouse-User": "u"},
    ),
    Sent("Tabix", "SELECT toUInt64(1) AS a FORMAT JSON", TABIX, b'"a": "1"'),
    # clickhouse-connect 1.12: httpclient.py.
    Sent("clickhouse-connect", "SELECT 1", {"enable_http_compression": "1", "wait_end_of_query": "1"}, b"1\n"),
]


@pytest.mark.parametrize("sent", CLIENTS, ids=lambda sent: sent.who)
async def test_a_client_is_answered(http: httpx.AsyncClient, sent: Sent) -> None:
    for by_body in (False, True):
        values = sent.values if by_body else {**sent.values, "query": sent.query}
        answer = await http.post("/", params=values, content=sent.query if by_body else b"", headers=sent.headers)
        assert answer.status_code == 200, answer.text
        content = of_blocks(answer.content, 1_000_000) if "compress" in sent.values else answer.content
        assert sent.answered in content


async def test_settings_are_obeyed_capped_and_refused(http: httpx.AsyncClient) -> None:
    async def ask(query: str, **settings: Any) -> httpx.Response:
        return await http.get("/", params={"query": query, **settings})

    assert (
        await ask("SELECT toUInt64(1) AS a FORMAT JSONEachRow", output_format_json_quote_64bit_integers=1)
    ).json() == {"a": "1"}
    assert (await ask("SELECT number FROM numbers(9)", limit=1, offset=3)).text == "3\n"
    long = "SELECT number FROM numbers(100000)"
    assert "TOO_MANY_ROWS" in (await ask(long, max_result_rows=10, max_block_size=5)).text
    assert len((await ask(long, max_result_rows=10, result_overflow_mode="break")).text.split()) < 100_000
    for asked in (0, 10**15):
        got = await ask("SELECT getSetting('max_memory_usage'), getSetting('readonly')", max_memory_usage=asked)
        assert got.text == "100000000\t1\n"
    refused = await ask("SELECT 1", allow_ddl=1)
    assert (refused.status_code, refused.headers["x-clickhouse-exception-code"]) == (403, "164")
    assert "allow_ddl cannot be changed" in refused.text
    unknown = await ask("SELECT 1", extrems=1)
    assert (unknown.status_code, "no setting extrems" in unknown.text) == (404, True)
    broken = await ask("SELECT 1", extremes="perhaps")
    assert (broken.status_code, broken.headers["x-clickhouse-exception-code"]) == (400, "467")
    # What one asked for is not left to the next.
    assert (await ask("SELECT getSetting('extremes')")).text == "false\n"


async def test_bodies_may_be_compressed(http: httpx.AsyncClient) -> None:
    squeezed = await http.post("/", content=gzip.compress(b"SELECT 1"), headers={"Content-Encoding": "gzip"})
    assert squeezed.text == "1\n"
    blocks = await http.post("/", params={"decompress": "1"}, content=as_blocks(b"SELECT 2"))
    assert blocks.text == "2\n"
    other = await http.post("/", content=b"\x8b", headers={"Content-Encoding": "br"})
    assert (other.status_code, "br is not known here; send gzip" in other.text) == (400, True)
    silent = await http.post("/", content=gzip.compress(b"SELECT 1"))
    assert (silent.status_code, "say so by Content-Encoding" in silent.text) == (400, True)
    wide = {"query": "SELECT number FROM numbers(3000)"}
    assert "content-encoding" not in (await http.get("/", params=wide)).headers
    asked = await http.get(
        "/", params={**wide, "enable_http_compression": "1"}, headers={"Accept-Encoding": "br, gzip"}
    )
    assert (asked.headers["content-encoding"], len(asked.text.split())) == ("gzip", 3000)


async def test_what_is_around_a_query_is_as_a_servers(http: httpx.AsyncClient) -> None:
    assert (await http.get("/replicas_status")).text == "Ok.\n"
    asked = await http.head("/", params={"query": "SELECT 1"})
    assert (asked.status_code, asked.content) == (200, b"")
    named = await http.get("/", params={"query": "SELECT number FROM numbers(7)", "query_id": "mine"}, auth=("a", "b"))
    assert named.headers["x-clickhouse-query-id"] == "mine"
    assert named.headers["x-clickhouse-timezone"] == "UTC"
    assert '"result_rows":"7"' in named.headers["x-clickhouse-summary"]
    rows = {"files": {"ext": b"1\n"}, "data": {"ext_structure": "x UInt8"}}
    brought = await http.post("/", params={"query": "SELECT * FROM ext"}, **rows)
    assert (brought.status_code, "has rows for a table ext" in brought.text) == (403, True)


async def test_times_are_in_utc_whatever_the_machine_says(http: httpx.AsyncClient) -> None:
    query = "SELECT timezone(), toUnixTimestamp(toDateTime('2026-11-30 06:00:00')), toDateTime(0), now() - now('UTC')"
    assert (await http.get("/", params={"query": query})).text == "UTC\t1796018400\t1970-01-01 00:00:00\t0\n"
    other = await http.get("/", params={"query": query, "session_timezone": "Asia/Tokyo"})
    assert (other.status_code, "every answer is in UTC" in other.text) == (403, True)
