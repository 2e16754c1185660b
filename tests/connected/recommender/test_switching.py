"""Models are switched while playlists are served, from shards in this process and from a Qdrant server."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from collectors.synthetic import synthetic_songs
from contracts.models import LiveModel
from services.common.settings import KafkaSettings, Settings
from services.common.vectors.published import load_published
from services.common.vectors.server import connecting, write_collection
from services.local.processes.valkey import ValkeyNode
from services.recommender.snapshots import SnapshotStore
from tests.connected.recommender.running import (
    RunningRecommender,
    publish_songs,
    running_recommender,
    settings_for,
    switch_to,
)
from tests.support.qdrant_wire import QdrantWire, qdrant_wire
from tests.support.waiting import apoll
from tests.unit.recommender.made_up import publish, publish_all, words

pytestmark = pytest.mark.connected

SONGS = synthetic_songs(120)
IDS = [song.song_id for song in SONGS]
PER_SECOND = 50


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing version is retried after half a second, instead of five."""
    monkeypatch.setitem(SnapshotStore.__init__.__kwdefaults__, "retry_seconds", 0.5)


class Versions:
    """Versions of all arms, as a job leaves them: in a directory, and with a server there as well."""

    def __init__(self, directory: Path, server: QdrantWire | None) -> None:
        self._directory = directory
        self._server = server

    async def made(self, seed: int) -> list[LiveModel]:
        records = await asyncio.to_thread(publish_all, self._directory, IDS, seed)
        for record in records:
            await self.copied(record)
        return records

    async def copied(self, record: LiveModel) -> None:
        if self._server is None:
            return
        published = load_published(self._directory / record.collection)
        async with connecting(self._server.settings)() as client:
            await write_collection(client, record, published.song_ids, published.raw, lambda *_: None)


@pytest.fixture(params=["edge", "server"])
async def opened(
    request: pytest.FixtureRequest, log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
) -> AsyncIterator[tuple[RunningRecommender, Versions, list[LiveModel]]]:
    settings = settings_for(log, valkey.url, tmp_path)
    with contextlib.ExitStack() as started:
        server = started.enter_context(qdrant_wire()) if request.param == "server" else None
        versions = Versions(settings.vectors_dir if server is None else tmp_path / "elsewhere", server)
        first = await versions.made(0)
        await publish_songs(log, SONGS)
        await switch_to(log, *first)
        async with running_recommender(_on(settings, server)) as recommender:
            assert bool(recommender.parts.snapshots.current.remote) is (server is not None)
            yield recommender, versions, first


def _on(settings: Settings, server: QdrantWire | None) -> Settings:
    return settings if server is None else settings.model_copy(update={"qdrant": server.settings})


class Load:
    """Requests playlists at a steady rate, whatever the earlier answers."""

    def __init__(self, recommender: RunningRecommender) -> None:
        self._recommender = recommender
        self._asked: list[asyncio.Task[dict[str, Any]]] = []

    async def run(self) -> None:
        while True:
            self._asked.append(asyncio.create_task(self._recommender.new_playlist(f"u{len(self._asked) % 7}")))
            await asyncio.sleep(1 / PER_SECOND)

    async def answers(self) -> list[dict[str, Any]]:
        return await asyncio.gather(*self._asked)


@contextlib.asynccontextmanager
async def under_load(recommender: RunningRecommender) -> AsyncIterator[Load]:
    load = Load(recommender)
    task = asyncio.create_task(load.run())
    try:
        yield load
    finally:
        task.cancel()


async def test_a_switch_and_a_rollback_cost_no_playlist_and_mix_no_versions(opened):
    recommender, versions, first = opened
    second = await versions.made(1)
    async with under_load(recommender) as load:
        for live in (second, first, second):
            await switch_to(recommender.settings.kafka, *live)
            await recommender.serving(**{record.arm: record.version for record in live})
    answers = await load.answers()
    assert len(answers) > PER_SECOND / 5
    assert all(len(answer["slots"]) == 6 for answer in answers), [a["left_out"] for a in answers if a["left_out"]]
    after = await recommender.new_playlist("after")
    served = await recommender.logged()
    _one_version_an_arm(served, [first, second])
    (last,) = [playlist for playlist in served if str(playlist.playlist_id) == after["playlist_id"]]
    assert {slot.model_version for slot in last.slots} >= {record.version for record in second}


def _one_version_an_arm(playlists: Sequence[Any], known: Sequence[Sequence[LiveModel]]) -> None:
    versions = {
        record.arm: {live.version for each in known for live in each if live.arm == record.arm} for record in known[0]
    }
    for playlist in playlists:
        for slot in playlist.slots:
            assert slot.model_version is None or slot.model_version in versions[slot.arm]
        assert set(Counter(slot.arm for slot in playlist.slots).values()) == {1}


async def test_the_old_version_is_served_until_the_new_one_is_complete(opened):
    recommender, versions, first = opened
    here = recommender.settings.vectors_dir
    elsewhere = here.with_name("not yet")
    record = publish(elsewhere, "tfidf", IDS, words(len(IDS), 60, seed=9))
    await switch_to(recommender.settings.kafka, record)

    async def behind() -> bool:
        return "tfidf" in (await recommender.client.get("/readyz")).json()["behind"]

    await apoll(behind, what="tfidf is behind its record")
    state = (await recommender.client.get("/readyz")).json()
    assert (state["ready"], state["left_out"]) == (True, {})
    assert record.collection in state["behind"]["tfidf"]
    old = next(each.version for each in first if each.arm == "tfidf")
    assert state["arms"]["tfidf"] == old
    answer = await recommender.new_playlist()
    (slot,) = [slot for slot in answer["slots"] if slot["arm"] == "tfidf"]
    assert recommender.signed_slot(slot).model_version == old
    assert 'animusic_recommender_model_behind{arm="tfidf"} 1.0' in (await recommender.client.get("/metrics")).text
    await _arrives(versions, elsewhere, here, record)
    await recommender.serving(tfidf=record.version)
    assert (await recommender.client.get("/readyz")).json()["behind"] == {}


async def _arrives(versions: Versions, elsewhere: Path, here: Path, record: LiveModel) -> None:
    """A moment later the version is there, on either store."""
    if versions._server is None:
        (elsewhere / record.collection).rename(here / record.collection)
    else:
        await Versions(elsewhere, versions._server).copied(record)


async def test_an_arm_without_any_version_is_left_out_until_there_is_one(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path
):
    settings, elsewhere = settings_for(log, valkey.url, tmp_path), tmp_path / "elsewhere"
    await publish_songs(log, SONGS)
    record = publish(elsewhere, "tfidf", IDS, words(len(IDS), 60))
    await switch_to(log, record)
    async with running_recommender(settings) as recommender:
        answer = await recommender.new_playlist()
        assert record.collection in answer["left_out"]["tfidf"]
        assert "`animusic status` names the command" in answer["left_out"]["tfidf"]
        assert "tfidf" in (await recommender.client.get("/readyz")).json()["left_out"]
        settings.vectors_dir.mkdir(parents=True, exist_ok=True)
        (elsewhere / record.collection).rename(settings.vectors_dir / record.collection)
        await recommender.serving(tfidf=record.version)


async def test_a_lost_server_leaves_no_arm_out(log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path):
    settings = settings_for(log, valkey.url, tmp_path)
    await publish_songs(log, SONGS)
    with contextlib.ExitStack() as started:
        server = started.enter_context(qdrant_wire())
        await switch_to(log, *await Versions(tmp_path / "elsewhere", server).made(0))
        async with running_recommender(_on(settings, server)) as recommender:
            asked = len(server.asked)
            assert len((await recommender.new_playlist())["slots"]) == 6
            assert server.asked[asked:] == ["query"] * 3
            again = await Versions(tmp_path / "elsewhere", server).made(1)
            await switch_to(log, *again)
            await recommender.serving(**{record.arm: record.version for record in again})
            started.close()
            answer = await recommender.new_playlist()
            assert (len(answer["slots"]), answer["left_out"]) == (6, {})
            assert (await recommender.client.get("/readyz")).json()["left_out"] == {}
            failures = 'animusic_recommender_index_failures_total{arm="node2vec"} '
            metrics = (await recommender.client.get("/metrics")).text.splitlines()
            (line,) = [line for line in metrics if line.startswith(failures)]
            assert float(line.removeprefix(failures)) >= 1
