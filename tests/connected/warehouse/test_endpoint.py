"""The read-only endpoint as its clients use it, over a real socket and a real engine."""

import asyncio
import threading
import time
from typing import Any
from uuid import UUID

import clickhouse_connect
import httpx
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from services.cli.sql import command
from services.common.clickhouse import ChdbConnection, ChdbEngine, ClickhouseError
from services.common.settings import WarehouseSettings
from services.warehouse.analysts import Analysts, Question
from services.warehouse.guard import refusal
from services.warehouse.rows import Place, feedback
from tests.connected.warehouse.engine import ME
from tests.support.histories import histories
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected

SLOW = Question("SELECT max(sipHash64(number)) FROM numbers(1000000000000)", "CSV")


async def test_answers_get_post_body_parameters_and_formats(http: httpx.AsyncClient) -> None:
    assert (await http.get("/ping")).text == "Ok.\n"
    assert (await http.get("/")).text == "Ok.\n"
    assert (await http.get("/", params={"query": "SELECT 1, 'a'"})).text == "1\ta\n"
    assert (await http.post("/animusic", content="SELECT 1 FORMAT JSONCompact")).json()["data"] == [[1]]
    both = await http.post("/", params={"query": "SELECT number", "default_format": "CSV"}, content="FROM numbers(2);")
    assert both.text == "0\n1\n"
    asked = {"query": "SELECT {a:Array(String)}[2], {b:UUID}", "param_a": "['x','y']", "param_b": str(UUID(int=1))}
    assert (await http.get("/", params=asked)).text == f"y\t{UUID(int=1)}\n"
    named = await http.get("/", params={"query": "SELECT 1 /* a comment */ FORMAT CSVWithNames -- and one more"})
    assert named.headers["x-clickhouse-format"] == "CSVWithNames"
    assert named.headers["content-type"].startswith("text/csv")
    assert (await http.get("/readyz")).json() == {"status": "ready", **ME.as_dict()}
    assert "animusic_sql_seconds_count" in (await http.get("/metrics")).text


REFUSED = [
    ("SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')", 403, "table function url"),
    ("SELECT * FROM file('/etc/passwd', 'LineAsString')", 403, "file is refused"),
    ("SELECT * FROM '/etc/passwd'", 404, "UNKNOWN_TABLE"),
    ("SELECT file('/etc/passwd')", 403, "file is refused"),
    ("SELECT arrayMap(file, ['/etc/passwd'])", 403, "file is refused"),
    ("SELECT * APPLY(FiLe) FROM (SELECT '/etc/passwd')", 403, "FiLe is refused"),
    ('SELECT /**/ "file" ( $$/etc/passwd$$ )', 403, "file is refused"),
    ("DESC url('http://127.0.0.1:1/')", 403, "table function url"),
    ("DESCRIBE TABLE file('/etc/passwd')", 403, "file is refused"),
    ("EXPLAIN SELECT * FROM s3('http://127.0.0.1:1/b/k')", 403, "table function s3"),
    ("SELECT * FROM remote('127.0.0.1', 'system.one')", 403, "table function remote"),
    ("SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')", 403, "table function mysql"),
    ("SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')", 403, "table function postgresql"),
    ("SELECT * FROM executable('id', 'TSV', 'a String')", 403, "table function executable"),
    ("SELECT * FROM Python(sys)", 403, "table function Python"),
    ("SELECT * FROM input('a String')", 403, "table function input"),
    ("SELECT * FROM hdfs('hdfs://127.0.0.1:1/x', 'TSV')", 403, "table function hdfs"),
    ("SELECT * FROM sqlite('/tmp/a.db', 't')", 403, "table function sqlite"),
    ("SELECT * FROM merge('system', '.*')", 403, "table function merge"),
    ("SELECT * FROM dictionary('a')", 403, "table function dictionary"),
    ("SELECT * FROM viewIfPermitted(SELECT 1 ELSE null('a Int8'))", 403, "table function viewIfPermitted"),
    ("SELECT * FROM eval('SELECT 1')", 403, "table function eval"),
    ("SELECT 1 INTO OUTFILE '/tmp/animusic-outfile.csv'", 403, "INTO OUTFILE"),
    ("EXPLAIN SELECT 1 INTO OUTFILE '/tmp/animusic-outfile.csv'", 403, "INTO OUTFILE"),
    ("SELECT 1; DROP TABLE animusic.feedback", 400, "Multi-statements"),
    ("SELECT 1 PARALLEL WITH SELECT 2", 403, "one statement"),
    ("INSERT INTO animusic.marks VALUES ('a', 1, 'b', 2)", 403, "only SELECT"),
    ("INSERT INTO FUNCTION file('/tmp/animusic-outfile.csv') SELECT 1", 403, "only SELECT"),
    ("CREATE TABLE x (a Int8) ENGINE = Memory", 403, "only SELECT"),
    ("TRUNCATE TABLE animusic.feedback", 403, "only SELECT"),
    ("ALTER TABLE animusic.feedback DELETE WHERE 1", 403, "only SELECT"),
    ("OPTIMIZE TABLE animusic.feedback", 403, "only SELECT"),
    ("BACKUP DATABASE animusic TO File('x')", 403, "only SELECT"),
    ("SYSTEM SHUTDOWN", 403, "only SELECT"),
    ("KILL QUERY WHERE 1", 403, "only SELECT"),
    ("SET readonly = 0", 403, "only SELECT"),
    ("SELECT 1 SETTINGS readonly = 0", 403, "cannot change settings"),
    ("SELECT * FROM (SELECT 1 SETTINGS max_memory_usage = 0)", 403, "cannot change settings"),
    ("SELECT * FROM system.processes", 403, "system.processes is refused"),
    ('SELECT * FROM `system` . /**/ "query_log"', 403, "system.query_log is refused"),
    ("SELECT 1 IN (system.processes)", 403, "system.processes is refused"),
    ("SHOW PROCESSLIST", 403, "SHOW answers"),
    ("SHOW USERS", 403, "SHOW answers"),
    ("SELECT getServerSetting('max_server_memory_usage')", 403, "getServerSetting is refused"),
    ("SELECT hostName()", 403, "hostName is refused"),
    ("SELEC 1", 400, "SYNTAX_ERROR"),
    ("SELECT * FROM nothing", 404, "UNKNOWN_TABLE"),
    ("SELECT 1 FORMAT Nothing", 404, "UNKNOWN_FORMAT"),
]


@pytest.mark.parametrize(("statement", "status", "says"), REFUSED)
async def test_refuses(http: httpx.AsyncClient, statement: str, status: int, says: str) -> None:
    answer = await http.post("/", content=statement)
    assert answer.status_code == status, answer.text
    assert says in answer.text
    assert answer.text.startswith("Code: ")
    assert answer.headers["x-clickhouse-exception-code"] == answer.text.split()[1].rstrip(".")


async def test_refuses_by_parameters_settings_databases_and_callers(http: httpx.AsyncClient) -> None:
    asked = {"query": "SELECT * FROM {d:Identifier}.{t:Identifier}", "param_d": "system", "param_t": "processes"}
    assert (await http.get("/", params=asked)).status_code == 403
    assert (await http.get("/system", params={"query": "SELECT * FROM processes"})).status_code == 404
    assert (
        await http.get("/", params={"query": "SELECT 1"}, headers={"Origin": "https://x.example"})
    ).status_code == 403
    assert (await http.get("/", params={"query": "SELECT 1"}, headers={"Host": "x.example"})).status_code == 403
    assert (await http.post("/", content="SELECT '" + "x" * 1_000_001 + "'")).status_code == 413


async def test_limits_time_and_memory_and_says_so(http: httpx.AsyncClient) -> None:
    slow = await http.post("/", content="SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1")
    assert slow.status_code == 500
    assert "TIMEOUT_EXCEEDED" in slow.text
    big = await http.post("/", content="SELECT uniqExact(number, toString(number)) FROM numbers(100000000)")
    assert big.status_code == 500
    assert "MEMORY_LIMIT_EXCEEDED" in big.text
    assert (await http.post("/", content="SELECT 1")).text == "1\n"


async def test_clickhouse_connect_works_as_with_a_server(port: int, clickhouse: ChdbConnection) -> None:
    events = [event for history in histories(7, 20) for event in history.events]
    clickhouse.insert("animusic.feedback", feedback([(Place("0" * 32, 0, i, 0), e) for i, e in enumerate(events)]))
    distinct = len({(event.user_id, event.event_id) for event in events})

    def ask() -> None:
        client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
        assert client.query("SELECT count() FROM animusic.feedback_clean").result_rows == [(distinct,)]
        assert client.query("SELECT {a:UInt8} + 1 AS b", parameters={"a": 1}).first_item == {"b": 2}
        assert client.query("SELECT %(a)s AS b", parameters={"a": "it's"}).first_row == ("it's",)
        frame = client.query_df("SELECT kind, count() AS n FROM feedback GROUP BY kind ORDER BY kind")
        assert frame["n"].sum() == len(events)
        assert client.query_arrow("SELECT number FROM numbers(3)").num_rows == 3
        assert client.query("SELECT * FROM animusic.listener_songs LIMIT 5").row_count == 5
        long = "x" * 20_000
        assert client.query("SELECT length({a:String})", parameters={"a": long}).first_row == (20_000,)
        with pytest.raises(clickhouse_connect.driver.exceptions.DatabaseError, match="only SELECT"):
            client.command("DROP TABLE animusic.feedback")
        client.close()

    await asyncio.to_thread(ask)


async def test_an_insert_does_not_wait_for_a_long_query(http: httpx.AsyncClient, clickhouse: ChdbConnection) -> None:
    rows = feedback([(Place("0" * 32, 0, 0, 0), event) for history in histories(8, 5) for event in history.events])
    running = "SELECT count() AS n FROM system.processes WHERE query ILIKE '%sipHash64%' AND query NOT ILIKE '%n FROM%'"
    slow = asyncio.create_task(http.post("/", content="SELECT max(sipHash64(number)) FROM numbers(1000000000000)"))

    async def begun() -> bool:
        return (await asyncio.to_thread(clickhouse.query, running))["n"].to_pylist() == [1]

    await apoll(begun, what="the long query runs")
    await asyncio.to_thread(clickhouse.insert, "animusic.feedback", rows)
    assert not slow.done()
    assert "TIMEOUT_EXCEEDED" in (await slow).text


async def test_closing_ends_running_queries(engine: ChdbEngine, clickhouse: ChdbConnection) -> None:
    analysts = Analysts(engine, WarehouseSettings(query_seconds=60))
    slow = asyncio.create_task(analysts.ask(SLOW))

    async def begun() -> bool:
        found = await asyncio.to_thread(clickhouse.query, "SELECT count() AS n FROM system.processes")
        return found["n"].to_pylist() == [2]

    await apoll(begun, what="the long query runs")
    await asyncio.wait_for(asyncio.to_thread(analysts.close), 20)
    with pytest.raises(ClickhouseError, match="QUERY_WAS_CANCELLED"):
        await slow


async def test_closing_ends_a_query_that_begins_meanwhile(engine: ChdbEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    analysts = Analysts(engine, WarehouseSettings(query_seconds=25))
    await analysts.ask(Question("SELECT 1", "CSV"))
    looked_at = threading.Event()

    def looked_at_slowly(*arguments: Any) -> str | None:
        looked_at.set()
        time.sleep(1.0)
        return refusal(*arguments)

    monkeypatch.setattr("services.warehouse.analysts.refusal", looked_at_slowly)
    slow = asyncio.create_task(analysts.ask(SLOW))
    await asyncio.to_thread(looked_at.wait)
    await asyncio.wait_for(asyncio.to_thread(analysts.close), 20)
    with pytest.raises(ClickhouseError, match="QUERY_WAS_CANCELLED"):
        await slow


async def test_the_command_asks_it(port: int) -> None:
    app = typer.Typer()
    app.command()(command)
    environment = {"ANIMUSIC_CLICKHOUSE__DSN": f"http://127.0.0.1:{port}/animusic"}

    async def sql(*arguments: str, text: str | None = None) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, arguments, input=text, env=environment)

    found = await sql("SELECT 1 AS one, 'x' AS two", "--format", "CSVWithNames")
    assert (found.exit_code, found.stdout) == (0, '"one","two"\n1,"x"\n')
    refused = await sql("DROP TABLE feedback")
    assert (refused.exit_code, "only SELECT" in refused.stderr, refused.stdout) == (1, True, "")
    assert "exposure_curve" in (await sql("-", text="SHOW TABLES")).stdout
