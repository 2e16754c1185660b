"""The SQL endpoint over the engine of this process, for the tests of this folder."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest_asyncio
from prometheus_client import CollectorRegistry

from services.common.clickhouse import ChdbConnection, ChdbEngine
from services.common.http.server import HttpServer
from services.common.settings import WarehouseSettings
from services.warehouse.analysts import Analysts
from services.warehouse.endpoint import Endpoint
from tests.connected.warehouse.engine import ME


@pytest_asyncio.fixture
async def port(engine: ChdbEngine, clickhouse: ChdbConnection) -> AsyncIterator[int]:
    """The endpoint over the empty engine, with a limit of two seconds."""
    analysts = Analysts(engine, WarehouseSettings(query_seconds=2, query_memory_mb=100))
    endpoint = Endpoint(analysts, ME, CollectorRegistry(), lambda: None, host="127.0.0.1", server_address="here")
    server = HttpServer(endpoint.app(), stop_seconds=2)
    yield server.start("127.0.0.1", 0, "ANIMUSIC_WAREHOUSE__PORT")
    await server.close()
    await asyncio.to_thread(analysts.close)


@pytest_asyncio.fixture
async def http(port: int) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client, as curl is one."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        yield client
