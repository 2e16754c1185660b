"""The engine, empty, and its read-only endpoint on a real port."""

from collections.abc import AsyncIterator

import pytest_asyncio
from prometheus_client import CollectorRegistry

from services.common.clickhouse import ChdbConnection
from services.common.http.server import HttpServer
from services.common.settings import WarehouseSettings
from services.warehouse.analysts import Analysts
from services.warehouse.endpoint import Endpoint
from tests.connected.warehouse import engine as shared


@pytest_asyncio.fixture
async def dsn(clickhouse: ChdbConnection) -> AsyncIterator[str]:
    """Where analysts ask this engine."""
    analysts = Analysts(shared.engine(), WarehouseSettings())
    endpoint = Endpoint(analysts, shared.ME, CollectorRegistry(), lambda: None, host="127.0.0.1", server_address="")
    http = HttpServer(endpoint.app(), stop_seconds=2)
    port = http.start("127.0.0.1", 0, "ANIMUSIC_WAREHOUSE__PORT")
    yield f"http://127.0.0.1:{port}/animusic"
    await http.close()
    analysts.close()
