"""The whole gateway app without a store: its parts are built, not started, so only what needs no log is asked."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from services.common.settings import GatewaySettings, Settings
from services.gateway.app import build_app

Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings on a data directory of the tests' own."""
    return Settings(data_dir=Path(tmp_path_factory.mktemp("gateway")), secret="s" * 32, gateway=GatewaySettings())


@pytest.fixture(scope="session")
def app(settings: Settings) -> FastAPI:
    """The app as the composition root builds it."""
    return build_app(settings)


@pytest_asyncio.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client that speaks to the app without a socket."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080") as client:
        yield client


@pytest_asyncio.fixture
async def bearer(client: httpx.AsyncClient) -> dict[str, str]:
    """The header of a new guest."""
    answer = await client.post("/v1/sessions", json={"guest": True})
    return {"Authorization": f"Bearer {answer.json()['token']}"}
