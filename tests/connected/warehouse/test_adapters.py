"""Both ways to ClickHouse do the same: the engine in this process, and a server over HTTP (the engine behind it)."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pyarrow as pa
import pytest
import pytest_asyncio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.marks import MarkName
from services.common.clickhouse import ChdbConnection, ChdbEngine, Clickhouse, ClickhouseError, ClickhouseServer
from services.common.kafka.consuming.model import Assignment, DecodedRecord, Slice
from services.warehouse.migrations import migrate
from services.warehouse.sink import WarehouseSink
from tests.support.histories import histories
from tests.support.waiting import apoll
from tests.unit.warehouse.test_sink import record

pytestmark = pytest.mark.connected


class WritableServer:
    """ClickHouse's HTTP interface for trusted writers, as far as clickhouse-connect's client needs it."""

    def __init__(self, connection: ChdbConnection) -> None:
        self._connection = connection
        app = Starlette(routes=[Route("/", self._answer, methods=["GET", "POST"])])
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        query = request.query_params.get("query", "")
        try:
            return Response(await asyncio.to_thread(self._run, query, body, dict(request.query_params)))
        except ClickhouseError as error:
            return Response(f"{error}\n", 500, {"X-ClickHouse-Exception-Code": str(error.code)})

    def _run(self, query: str, body: bytes, values: dict[str, str]) -> bytes:
        statement, _, output = query.partition(" FORMAT ")
        if statement.startswith("INSERT") and output:
            self._connection.insert_bytes(statement, body, output.strip())
            return b""
        parameters = {name.removeprefix("param_"): value for name, value in values.items() if name.startswith("param_")}
        return self._connection.raw(query or body.decode(), "TabSeparated", parameters)


@pytest_asyncio.fixture(params=["chdb", "server"])
async def either(
    request: pytest.FixtureRequest, engine: ChdbEngine, clickhouse: ChdbConnection
) -> AsyncIterator[Clickhouse]:
    """Each adapter in turn, on the same empty tables."""
    if request.param == "chdb":
        yield clickhouse
        return
    server = WritableServer(engine.connect()).server
    task = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await apoll(started, what="the server listens")
    port = server.servers[0].sockets[0].getsockname()[1]
    adapter = await asyncio.to_thread(ClickhouseServer, f"http://127.0.0.1:{port}/animusic")
    yield adapter
    adapter.close()
    server.should_exit = True
    await task


async def test_migrates_inserts_and_reads_back(either: Clickhouse) -> None:
    assert await asyncio.to_thread(migrate, either) == []
    sink = WarehouseSink(either)
    assignment = Assignment(MarkName("b" * 32, 3), "animusic.feedback.v1", 8)
    events = [event for history in histories(9, 5) for event in history.events]
    records = [record(assignment.topic, event.log_value(), offset) for offset, event in enumerate(events)]
    items = [DecodedRecord(found, sink.decode(found)) for found in records]
    assert await sink.marks([assignment]) == {assignment.name: None}
    assert not (await sink.flush([Slice(assignment, 0, len(items), items)])).refused
    assert await sink.marks([assignment]) == {assignment.name: len(items)}
    asked = "SELECT user_id, event_id FROM animusic.feedback_clean WHERE user_id = {user:String}"
    found = await asyncio.to_thread(either.query, asked, {"user": events[0].user_id})
    ids = {event.event_id for event in events if event.user_id == events[0].user_id}
    assert {UUID(str(row["event_id"])) for row in found.to_pylist()} == ids


async def test_errors_are_the_same(either: Clickhouse) -> None:
    with pytest.raises(ClickhouseError) as unknown:
        await asyncio.to_thread(either.query, "SELECT * FROM animusic.nothing")
    assert unknown.value.code == 60
    with pytest.raises(ClickhouseError) as mismatch:
        await asyncio.to_thread(either.insert, "animusic.marks", pa.table({"mark": pa.array(["x"])}))
    assert mismatch.value.about_data
    with pytest.raises(ClickhouseError):
        await asyncio.to_thread(either.command, "CREATE nonsense")


def test_a_server_that_is_not_there_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(ClickhouseError, match="ANIMUSIC_CLICKHOUSE__DSN"):
        ClickhouseServer("http://127.0.0.1:1/animusic")
