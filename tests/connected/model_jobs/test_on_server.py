"""Versions on a Qdrant server: there, whole, before anybody is switched to them; gone when they are old."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from collectors.importing import planned, write
from collectors.synthetic import synthetic_songs
from model_jobs.build import build
from model_jobs.lifecycle import prune, roll_back, switch_to
from model_jobs.live import live_models
from model_jobs.on_server import copy_to_server
from model_jobs.random_vectors import RandomVectors
from services.common.kafka.catalogue_log import read_catalogue
from services.common.settings import KafkaSettings, QdrantSettings, Settings
from services.common.vectors.published import load_published
from services.common.vectors.server import connecting
from services.common.vectors.server_index import assembled, read_collection
from services.local.processes.ports import free_port
from tests.support.qdrant_wire import QdrantWire, qdrant_wire

pytestmark = pytest.mark.connected

SONGS = synthetic_songs(60)


def model(seed: int) -> RandomVectors:
    return RandomVectors("minilm", seed=seed)


@pytest.fixture
def server() -> Iterator[QdrantWire]:
    with qdrant_wire() as started:
        yield started


@pytest.fixture
async def here(log: KafkaSettings, tmp_path: Path) -> Settings:
    """Settings without a server, and a catalogue."""
    await write(log, planned(SONGS, await read_catalogue(log)).records)
    return Settings(data_dir=tmp_path, kafka=log)


def on(settings: Settings, server: QdrantWire) -> Settings:
    return settings.model_copy(update={"qdrant": server.settings})


def named(server: QdrantWire) -> dict[str, str]:
    return {alias.alias_name: alias.collection_name for alias in server.client.get_aliases().aliases}


def collections(server: QdrantWire) -> set[str]:
    return {each.name for each in server.client.get_collections().collections}


async def test_a_build_and_a_rollback_are_whole_on_the_server_and_named_there(here, server):
    settings = on(here, server)
    first = (await build(settings, model(1))).record
    second = (await build(settings, model(2))).record
    assert collections(server) == {first.collection, second.collection}
    assert named(server) == {"minilm": second.collection}
    await roll_back(settings, "minilm")
    assert named(server) == {"minilm": first.collection}
    async with connecting(server.settings)() as client:
        rows = assembled(await read_collection(client, first), first)
    published = load_published(settings.vectors_dir / first.collection)
    assert rows.song_ids == published.song_ids
    np.testing.assert_allclose(rows.raw, published.raw, rtol=1e-5, atol=1e-6)


async def test_old_versions_go_from_both(here, server):
    settings = on(here, server)
    made = [(await build(settings, model(seed))).record for seed in (1, 2, 3)]
    await prune(settings, keep=2)
    assert collections(server) == {record.collection for record in made[1:]}


async def test_a_server_that_was_set_later_or_lost_its_disk_gets_what_is_live(here, server):
    record = (await build(here, model(1))).record
    assert collections(server) == set()
    built = await build(on(here, server), model(1))
    assert (built.outcome, collections(server), named(server)) == (
        "already live",
        {record.collection},
        {"minilm": record.collection},
    )


async def test_a_server_that_does_not_answer_leaves_the_arm_as_it_is(here):
    live = (await build(here, model(1))).record
    lost = here.model_copy(update={"qdrant": QdrantSettings(url="http://127.0.0.1", grpc_port=free_port())})
    with pytest.raises(RuntimeError, match=r"Qdrant at http://127.0.0.1 .*its address is ANIMUSIC_QDRANT__URL"):
        await build(lost, model(2))
    assert (await live_models(here.kafka))["minilm"] == live


async def test_a_copy_that_was_interrupted_is_completed_by_the_next_switch(here, server):
    built = await build(here, model(1), switch=False)
    settings, record = on(here, server), built.record

    def dies(what: str, done: int, steps: int) -> None:
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        await copy_to_server(settings, record, dies)
    assert server.client.count(record.collection).count == 0
    await switch_to(settings, "minilm", record.version)
    assert server.client.count(record.collection).count == record.songs
    assert (await live_models(settings.kafka))["minilm"] == record
