"""What the SQL endpoint says before any statement reaches an engine."""

import httpx
import pytest
from prometheus_client import CollectorRegistry

from services.common.process.identity import ProcessIdentity
from services.warehouse.endpoint import Endpoint

ME = ProcessIdentity("warehouse", "a" * 32, 7)


@pytest.mark.parametrize("query_id", ["語", "a\r\nX-Evil: 1", "a\x00", "é", "a\x7f", " a"])
async def test_a_query_id_that_no_header_can_hold_is_refused(query_id: str) -> None:
    answer = await _ask(query_id)
    assert answer.status_code == 400
    assert answer.text.startswith("Code: 36. DB::Exception: Refused: query_id ")
    assert answer.headers["x-clickhouse-exception-code"] == "36"
    assert "x-evil" not in answer.headers
    assert answer.headers["x-clickhouse-query-id"].isascii()


@pytest.mark.parametrize("query_id", ["a", "a b", "7f1e-~!"])
async def test_another_query_id_comes_back(query_id: str) -> None:
    assert (await _ask(query_id)).headers["x-clickhouse-query-id"] == query_id


async def _ask(query_id: str) -> httpx.Response:
    endpoint = Endpoint(None, ME, CollectorRegistry(), lambda: "", host="127.0.0.1", server_address="elsewhere")
    transport = httpx.ASGITransport(endpoint.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.get("/", params={"query": "SELECT 1", "query_id": query_id})
