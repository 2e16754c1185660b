"""The lag in a recommender's /readyz, and what `status` shows of it."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from collectors.synthetic import synthetic_songs
from services.common.settings import KafkaSettings
from services.local.processes.valkey import ValkeyNode
from services.operator.status.machine import _behind, _body
from tests.connected.recommender.running import RunningRecommender, publish_songs, running_recommender, settings_for
from tests.support.following import at_end, following
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected

SONGS = synthetic_songs(50)


async def _follows(recommender: RunningRecommender) -> dict[str, Any]:
    found: dict[str, Any] = (await recommender.client.get("/readyz")).json()["follows"]
    return found


async def test_it_reports_the_lag_and_its_age(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
) -> None:
    settings = settings_for(log, valkey.url, tmp_path)
    await publish_songs(log, SONGS)
    async with running_recommender(settings) as recommender:
        for number in range(3):
            await recommender.feedback(f"u{number}", "liked", SONGS[number].song_id)

        async def lacks_three() -> bool:
            return (await _follows(recommender)).get("profiles") == {"lag": 3}

        await apoll(lacks_three, what="nobody has folded the three likes")
        assert (await _follows(recommender))["catalogue and models"] == {"lag": 0, "oldest_seconds": 0.0}
        async with following(settings, redis):
            await at_end(log, redis)

            async def lacks_none() -> bool:
                return (await _follows(recommender))["profiles"] == {"lag": 0}

            await apoll(lacks_none, what="the likes are in the profiles")
        recommender.parts.follower._take = _never
        await publish_songs(log, synthetic_songs(55)[50:])

        async def lacks_songs() -> bool:
            known_end = (await _follows(recommender))["catalogue and models"]
            return known_end["lag"] == 5 and known_end["oldest_seconds"] > 0 and "trouble" in known_end

        await apoll(lacks_songs, what="five songs cannot be read")


def _never(records: list[Any]) -> None:
    raise OSError("it cannot be taken")


def test_status_reads_every_shape() -> None:
    recommender = {"ready": True, "follows": {"catalogue and models": {"lag": 5}, "profiles": {"lag": 2}}}
    assert _behind(_body(httpx.Response(200, json=recommender))) == {"catalogue and models": 5, "profiles": 2}
    assert _behind(_body(httpx.Response(200, json={"status": "ready", "lag": 7, "partitions": 8}))) == {"log": 7}
    assert _behind(_body(httpx.Response(503, json={"ready": False, "parts": {}}))) == {}
    assert _behind(_body(httpx.Response(502, text="<html>"))) == {}
