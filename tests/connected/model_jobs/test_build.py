"""Whole builds on a real log: catalogue in, published collection and switch out."""

import os
from pathlib import Path

import numpy as np
import pytest

from collectors.importing import planned, write
from collectors.synthetic import synthetic_songs
from contracts.catalogue import Song, point_id_of
from model_jobs.build import build, stale_arms
from model_jobs.checks import CheckFailedError
from model_jobs.live import live_models
from model_jobs.model import Vectors
from model_jobs.node2vec import Node2Vec
from model_jobs.random_vectors import RandomVectors
from model_jobs.registry import model_named
from services.common.catalogue_log import read_catalogue
from services.common.settings import KafkaSettings, Settings
from services.common.vectors.edge import EdgeIndex, sparse_row
from services.common.vectors.published import load_published, published_models

pytestmark = pytest.mark.connected

SONGS = synthetic_songs(120)
SMALL = Node2Vec(dimension=16, walks=5)


async def load(log: KafkaSettings, songs: list[Song]) -> None:
    await write(log, planned(songs, await read_catalogue(log)).records)


@pytest.fixture
def settings(log: KafkaSettings, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, kafka=log)


def names(settings: Settings) -> set[str]:
    return {path.name for path in settings.vectors_dir.iterdir()}


async def test_both_models_are_built_published_and_live(settings: Settings) -> None:
    await load(settings.kafka, SONGS)
    assert await stale_arms(settings) == ["tfidf", "node2vec"]
    for arm in ("tfidf", "node2vec"):
        built = await build(settings, model_named(settings, arm))
        assert built.outcome == "built" and built.recall is not None and built.recall >= 0.99
        published = load_published(settings.vectors_dir / built.record.collection)
        assert published.record == built.record == (await live_models(settings.kafka))[arm]
        assert published.song_ids == [song.song_id for song in SONGS] and built.record.songs == 120
        assert published.raw.shape == (120, built.record.dimension)
        index = EdgeIndex.open(published.shard)
        query = sparse_row(published.raw, 7) if arm == "tfidf" else np.asarray(published.raw[7])
        found, scores = index.search(query, k=1)
        assert found[0] == point_id_of(published.song_ids[7]) and scores[0] == pytest.approx(1.0, abs=1e-5)
        index.close()
    assert await stale_arms(settings) == []


async def test_the_same_catalogue_is_not_built_twice_and_a_changed_one_is(settings: Settings) -> None:
    await load(settings.kafka, SONGS)
    first = await build(settings, SMALL)
    again = await build(settings, SMALL)
    assert (again.outcome, again.record) == ("already live", first.record)
    await load(settings.kafka, [SONGS[0].model_copy(update={"tags": ("other",)})])
    changed = await build(settings, SMALL)
    assert changed.outcome == "built" and changed.record.version != first.record.version
    await load(settings.kafka, SONGS)
    back = await build(settings, SMALL)
    assert (back.outcome, back.record) == ("switched to", first.record)
    assert (await live_models(settings.kafka))["node2vec"] == first.record


async def test_a_lost_directory_is_built_again(settings: Settings, tmp_path: Path) -> None:
    await load(settings.kafka, SONGS)
    first = await build(settings, SMALL)
    elsewhere = Settings(data_dir=tmp_path / "other", kafka=settings.kafka)
    again = await build(elsewhere, SMALL)
    assert again.outcome == "built" and again.record.version == first.record.version
    rows = [load_published(s.vectors_dir / first.record.collection).raw for s in (settings, elsewhere)]
    np.testing.assert_array_equal(*rows)


async def test_leftovers_and_old_versions_go_and_the_live_ones_stay(settings: Settings) -> None:
    await load(settings.kafka, SONGS)
    dead_process = 2**22 + 1
    settings.vectors_dir.mkdir(parents=True)
    (settings.vectors_dir / f".building-tfidf-0-{dead_process}").mkdir()
    (settings.vectors_dir / f".building-tfidf-1-{os.getppid()}").mkdir()
    other = await build(settings, RandomVectors("minilm"))
    versions = [(await build(settings, Node2Vec(dimension=16, walks=2, seed=seed))).record for seed in (1, 2, 3)]
    kept = {record.collection for record in [other.record, *versions[1:]]}
    assert names(settings) == kept | {f".building-tfidf-1-{os.getppid()}"}
    assert {record.collection for record in published_models(settings.vectors_dir)} == kept


class _Broken(Node2Vec):
    def build(self, songs, report):
        built = super().build(songs, report)
        built.raw[3] = np.nan
        return Vectors(built.song_ids, built.raw, {})


async def test_a_model_that_fails_its_checks_leaves_the_live_one(settings: Settings) -> None:
    await load(settings.kafka, SONGS)
    good = await build(settings, SMALL)
    with pytest.raises(CheckFailedError, match="NaN"):
        await build(settings, _Broken(dimension=8, walks=2))
    assert (await live_models(settings.kafka))["node2vec"] == good.record
    assert names(settings) == {good.record.collection}


async def test_an_empty_catalogue_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(ValueError, match="animusic catalogue import sample"):
        await build(settings, SMALL)


async def test_made_up_vectors_say_so(settings: Settings) -> None:
    await load(settings.kafka, SONGS)
    record = (await build(settings, RandomVectors("mpnet"))).record
    assert record.dimension == 768 and record.params["made_up"] is True
