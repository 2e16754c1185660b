"""A recommender in this process on real stores, with a small catalogue and models of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np

from contracts.catalogue import Song
from contracts.events import FeedbackEvent
from contracts.models import LiveModel
from contracts.playlists import ServedPlaylist
from contracts.tokens import SignedSlot, Signer
from contracts.topics import CATALOGUE, FEEDBACK, MODELS, PLAYLISTS
from services.common.kafka import read_to_end, topic_ids
from services.common.process.clock import now_ms
from services.common.settings import KafkaSettings, RedisSettings, Settings
from services.recommender.app import Parts, running
from tests.support.following import producing, put
from tests.support.waiting import apoll


def settings_for(log: KafkaSettings, redis_url: str, data_dir: Path, **own: Any) -> Settings:
    """Settings of a recommender, with a consumer's group beside it."""
    return Settings(
        data_dir=data_dir,
        kafka=log,
        redis=RedisSettings(url=redis_url, timeout_seconds=1.0),
        profiles={"group": f"test.{uuid4().hex}"},
        recommender=own,
    )


@dataclass
class RunningRecommender:
    """`client` sends requests to the recommender."""

    settings: Settings
    client: httpx.AsyncClient
    parts: Parts

    async def new_playlist(self, user_id: str = "u", **body: Any) -> dict[str, Any]:
        """A new playlist; it must be there."""
        answer = await self.client.post("/internal/playlists", json={"user_id": user_id, **body})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def rest(self, playlist_id: str, from_slot: int, user_id: str = "u") -> httpx.Response:
        """The rest of a playlist, picked again."""
        body = {"user_id": user_id, "from_slot": from_slot}
        return await self.client.post(f"/internal/playlists/{playlist_id}/rest", json=body)

    async def feedback(self, user_id: str, kind: str, song_id: str, **fields: Any) -> dict[str, Any]:
        """Append an event; returns the mark that a receipt would carry."""
        at = now_ms()
        event = FeedbackEvent(
            event_id=uuid4(), kind=kind, user_id=user_id, song_id=song_id, occurred_at=at, received_at=at, **fields
        )
        async with producing(self.settings.kafka) as to:
            record = await put(to, FEEDBACK.name, user_id, event.log_value())
        ids = await topic_ids(self.settings.kafka.bootstrap_servers, [FEEDBACK.name])
        return {"topic_id": ids[FEEDBACK.name], "partition": record.partition, "offset": record.offset}

    async def logged(self) -> list[ServedPlaylist]:
        """Every playlist in the log."""
        batches = [batch async for batch in read_to_end(self.settings.kafka, PLAYLISTS.name)]
        return [ServedPlaylist.model_validate_json(record.value) for batch in batches for record in batch]

    def signed_slot(self, slot: dict[str, Any], user_id: str = "u") -> SignedSlot:
        """The content of a slot's token."""
        signer = Signer(self.settings.signing_key())
        return signer.read_slot(
            slot["slot_token"], user_id=user_id, song_id=slot["song_id"], now=now_ms(), max_age_ms=60_000
        )

    async def serving(self, **arms: str) -> None:
        """Wait until these versions are live here."""

        async def live() -> bool:
            models = self.parts.snapshots.current.models
            return all(arm in models and models[arm].version == version for arm, version in arms.items())

        await apoll(live, what=f"the recommender serves {arms}")


async def publish_songs(log: KafkaSettings, songs: Iterable[Song]) -> None:
    """Append songs to the catalogue."""
    async with producing(log) as to:
        await asyncio.gather(
            *[await to.send(CATALOGUE.name, each.log_value(), key=each.song_id.encode()) for each in songs]
        )


async def switch_to(log: KafkaSettings, *records: LiveModel) -> None:
    """Append one record a model: the switch."""
    async with producing(log) as to:
        for record in records:
            await to.send_and_wait(MODELS.name, record.log_value(), key=record.arm.encode())


@contextlib.asynccontextmanager
async def running_recommender(
    settings: Settings, *, seed: int = 1, ready: bool = True
) -> AsyncIterator[RunningRecommender]:
    """A started recommender; with `ready`, one that has read the log."""
    async with running(settings, np.random.default_rng(seed)) as (app, parts):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://recommender", timeout=20) as client:
            if ready:
                await asyncio.wait_for(parts.snapshots.ready.wait(), 20)
            yield RunningRecommender(settings, client, parts)
