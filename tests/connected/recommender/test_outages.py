"""Without Redis a playlist is still served; without the log none is; both recover by themselves."""

import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from collectors.synthetic import synthetic_songs
from services.common.kafka import ensure_topics
from services.common.settings import KafkaSettings
from services.local.processes.ports import free_port
from services.local.processes.valkey import ValkeyNode
from tests.connected.recommender.running import publish_songs, running_recommender, settings_for, switch_to
from tests.support.following import at_end, following
from tests.support.stores import kafka_node, valkey_node
from tests.support.waiting import apoll, poll
from tests.unit.recommender.made_up import publish_all

pytestmark = pytest.mark.connected

SONGS = synthetic_songs(60)
IDS = [song.song_id for song in SONGS]


async def test_without_redis_an_impersonal_playlist_is_served(log: KafkaSettings, tmp_path: Path):
    with valkey_node(tmp_path / "v") as valkey:
        settings = settings_for(log, valkey.url, tmp_path)
        await publish_songs(log, SONGS)
        await switch_to(log, *publish_all(settings.vectors_dir, IDS))
        async with running_recommender(settings) as recommender:
            redis = Redis.from_url(valkey.url)
            async with following(settings, redis):
                mark = await recommender.feedback("u", "liked", IDS[3])
                assert (await recommender.new_playlist(not_before=mark))["cold"] is None
                await at_end(log, redis)
            await redis.aclose()
            valkey.kill()
            without = await recommender.new_playlist()
            assert (without["fresh"], without["cold"], len(without["slots"])) == (False, "mean", 6)
            assert "redis" in (await recommender.client.get("/readyz")).json()["missing"]
            assert (await recommender.client.get("/internal/profiles/u")).json()["error"] == "profiles_unavailable"
            await _wiped(valkey, tmp_path / "v")
            wiped = await recommender.new_playlist()
            assert (wiped["fresh"], wiped["cold"], len(wiped["slots"])) == (False, "mean", 6)


async def _wiped(valkey: ValkeyNode, data_dir: Path) -> None:
    """Start the store again, empty."""
    valkey.start()
    valkey.wait_ready()
    redis = Redis.from_url(valkey.url)
    await redis.flushall()
    await redis.aclose()


async def test_without_the_log_nothing_is_served(valkey: ValkeyNode, redis: Redis, tmp_path: Path):
    with kafka_node(tmp_path / "k") as kafka:
        log = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, request_timeout_ms=2_000)
        await ensure_topics(log)
        settings = settings_for(log, valkey.url, tmp_path)
        await publish_songs(log, SONGS)
        await switch_to(log, *publish_all(settings.vectors_dir, IDS))
        async with running_recommender(settings) as recommender:
            first = await recommender.new_playlist()
            kafka.kill()
            for _ in range(2):
                down = await recommender.client.post("/internal/playlists", json={"user_id": "u"})
                assert (down.status_code, down.json()["error"]) == (503, "log_unavailable")
                assert int(down.headers["retry-after"]) > 0
            assert (await recommender.rest(first["playlist_id"], 1)).status_code == 503
            assert "log" in (await recommender.client.get("/readyz")).json()["missing"]
            kafka.start()
            kafka.wait_ready()

            async def back() -> bool:
                return (await recommender.client.post("/internal/playlists", json={"user_id": "u"})).status_code == 201

            await apoll(back, timeout=30, what="playlists are served again")
            assert (await recommender.rest(first["playlist_id"], 1)).json()["revision"] == 1
            new = await publish_and_find(recommender, log)
            assert new == 200
            assert len(await recommender.logged()) == 3


async def publish_and_find(recommender, log: KafkaSettings) -> int:
    """The catalogue is followed again, too."""
    extra = synthetic_songs(61)[60]
    await publish_songs(log, [extra])

    async def there() -> bool:
        return (await recommender.client.get(f"/internal/songs/{extra.song_id}")).status_code == 200

    await apoll(there, timeout=20, what="the catalogue is followed again")
    return (await recommender.client.get(f"/internal/songs/{extra.song_id}")).status_code


async def test_the_process_serves_and_stops_on_sigterm(log: KafkaSettings, valkey: ValkeyNode, tmp_path: Path):
    await publish_songs(log, SONGS)
    settings = settings_for(log, valkey.url, tmp_path, port=free_port())
    code = f"""
        import asyncio
        from services.common.settings import Settings
        from services.recommender.app import serve
        asyncio.run(serve(Settings.model_validate_json({settings.model_dump_json()!r})))
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    try:
        url = f"http://127.0.0.1:{settings.recommender.port}"
        poll(lambda: _status(f"{url}/readyz") == 200, timeout=30, what="the process is ready")
        assert httpx.post(f"{url}/internal/playlists", json={"user_id": "u"}).status_code == 201
        child.terminate()
        assert child.wait(15) == 0
    finally:
        child.kill()


def _status(url: str) -> int:
    try:
        return httpx.get(url).status_code
    except httpx.TransportError:
        return 0
