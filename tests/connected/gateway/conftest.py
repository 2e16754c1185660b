"""A real gateway on a real port, in this process, against a real log."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest_asyncio
from aiokafka import ConsumerRecord

from contracts.tokens import Signer
from services.common.kafka import read_to_end
from services.common.process.clock import now_ms
from services.common.settings import GatewaySettings, KafkaSettings, Settings
from services.gateway.app import build_parts, build_server

SECRET = "s" * 32
NOBODY = "http://127.0.0.1:9"


def settings_of(log: KafkaSettings, data_dir: Path, **gateway: Any) -> Settings:
    """Settings of a gateway for tests: generous limits, no recommender unless one is named."""
    limits = {"posts_per_second": 1e6, "posts_burst": 1_000_000, "recommender_urls": [NOBODY]}
    return Settings(
        data_dir=data_dir, port=0, secret=SECRET, kafka=log, gateway=GatewaySettings(**{**limits, **gateway})
    )


@dataclass
class Running:
    """A gateway that serves, and a client of it."""

    client: httpx.AsyncClient
    url: str
    signer: Signer

    async def guest(self) -> tuple[str, dict[str, str]]:
        """A new guest: user id and the header of its bearer."""
        answer = await self.client.post("/v1/sessions", json={"guest": True})
        assert answer.status_code == 201, answer.text
        return answer.json()["user_id"], {"Authorization": f"Bearer {answer.json()['token']}"}

    async def post(self, bearer: dict[str, str], *events: object) -> httpx.Response:
        """Post events."""
        return await self.client.post("/v1/events", json={"events": events}, headers=bearer)

    async def ready(self) -> dict[str, Any]:
        """What /readyz says, by part."""
        found: dict[str, Any] = (await self.client.get("/readyz")).json()["parts"]
        return found

    async def log_is_ready(self) -> bool:
        """Whether an event could be logged now."""
        return bool((await self.ready())["log"]["ok"])


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Serve until the block ends, then stop in order."""
    parts = build_parts(settings)
    server = build_server(settings, parts)
    url = f"http://127.0.0.1:{server.start(settings.host, settings.port, 'ANIMUSIC_PORT')}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(max_connections=64)) as client:
            yield Running(client, url, parts.signer)
    finally:
        await server.close()


@pytest_asyncio.fixture
async def gateway(log: KafkaSettings, tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway on the session's log, without a recommender."""
    async with running(settings_of(log, tmp_path)) as gateway:
        yield gateway


def liked(song_id: str = "song-a", **changes: object) -> dict[str, object]:
    """A like, now."""
    return {"event_id": str(uuid4()), "kind": "liked", "occurred_at": now_ms(), "song_id": song_id, **changes}


async def records_of(log: KafkaSettings, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
    """Every record of a topic."""
    return [record async for batch in read_to_end(log, topic) for record in batch]


def at(records: Sequence[Any], partition: int, first: int, last: int) -> list[Any]:
    """The records between two offsets of a partition, both included, in order."""
    found = [each for each in records if each.partition == partition and first <= each.offset <= last]
    return sorted(found, key=lambda each: each.offset)
