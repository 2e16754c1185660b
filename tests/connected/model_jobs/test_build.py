"""Whole builds on a real log: catalogue in, published collection and switch out."""

from pathlib import Path

import numpy as np
import pytest

from collectors.importing import planned, write
from collectors.synthetic import synthetic_songs
from contracts.catalogue import Song, point_id_of
from model_jobs.build import build, stale_models
from model_jobs.builds import read_builds
from model_jobs.checks import CheckFailedError
from model_jobs.live import live_models
from model_jobs.model import Vectors
from model_jobs.node2vec import Node2Vec
from model_jobs.random_vectors import RandomVectors
from model_jobs.registry import model_named
from services.common.kafka.catalogue_log import read_catalogue
from services.common.settings import KafkaSettings, Settings
from services.common.vectors.edge import EdgeIndex, sparse_row
from services.common.vectors.published import load_published, published_models

pytestmark = pytest.mark.connected

SONGS = synthetic_songs(120)
SMALL = Node2Vec(dimension=16, walks=5)


async def load(log: KafkaSettings, songs: list[Song]) -> None:
    await write(log, planned(songs, await read_catalogue(log)).records)


def names(settings: Settings) -> set[str]:
    """The directories: locks are files and stay."""
    return {path.name for path in settings.vectors_dir.iterdir() if path.is_dir()}


async def stale_arms(settings: Settings) -> list[str]:
    return [model.arm for model in await stale_models(settings)]


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
    settings.vectors_dir.mkdir(parents=True)
    for arm in ("node2vec", "tfidf"):
        (settings.vectors_dir / f".building-{arm}-0-17").mkdir()
    other = await build(settings, RandomVectors("minilm"))
    versions = [(await build(settings, Node2Vec(dimension=16, walks=2, seed=seed))).record for seed in (1, 2, 3)]
    kept = {record.collection for record in [other.record, *versions[1:]]}
    # A build looks after its own arm alone: another job may work on the others.
    assert names(settings) == kept | {".building-tfidf-0-17"}
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
    made, failed = await read_builds(settings.kafka)
    assert (made.outcome, failed.outcome, failed.went_live) == ("built", "failed", False)
    assert "NaN" in str(failed.why) and set(failed.stages) == {"catalogue", "vectors", "checks"}


async def test_a_build_notes_what_it_cost(settings: Settings) -> None:
    await load(settings.kafka, SONGS)
    built = await build(settings, SMALL)
    (noted,) = await read_builds(settings.kafka)
    assert (noted.version, noted.outcome, noted.went_live) == (built.record.version, "built", True)
    assert (noted.songs, noted.encoded, noted.reused, noted.left_out) == (120, 120, 0, 0)
    assert set(noted.stages) == {"catalogue", "vectors", "checks", "index", "publish"}
    assert sum(stage.seconds for stage in noted.stages.values()) <= noted.seconds + 0.01
    assert noted.params == SMALL.params() and noted.recall == built.recall
    assert noted.cpu_seconds > 0 and 10 << 20 < noted.peak_memory_bytes < 4 << 30
    assert noted.machine is not None and noted.machine.device == "cpu"


class _OnlyTitles(Node2Vec):
    def reads(self, song: Song) -> bytes:
        return song.title.encode()


async def test_what_a_model_does_not_read_asks_for_no_new_build(settings: Settings) -> None:
    await load(settings.kafka, SONGS)
    model = _OnlyTitles(dimension=8, walks=2)
    first = await build(settings, model)
    await load(settings.kafka, [SONGS[0].model_copy(update={"rating": 9.9})])
    assert (await build(settings, model)).outcome == "already live"
    await load(settings.kafka, [SONGS[0].model_copy(update={"title": "another"})])
    assert (await build(settings, model)).record.version != first.record.version


async def test_a_stale_arm_keeps_the_parameters_that_it_is_live_with(settings: Settings) -> None:
    await load(settings.kafka, SONGS)
    await build(settings, model_named(settings, "tfidf"))
    await build(settings, SMALL)
    await build(settings, RandomVectors("minilm"))
    assert await stale_models(settings) == []
    await load(settings.kafka, [SONGS[0].model_copy(update={"tags": ("other",)})])
    tfidf, node2vec = await stale_models(settings)
    assert (tfidf.arm, node2vec.params()) == ("tfidf", SMALL.params())


async def test_an_empty_catalogue_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(ValueError, match="animusic catalogue import sample"):
        await build(settings, SMALL)


async def test_made_up_vectors_say_so(settings: Settings) -> None:
    await load(settings.kafka, SONGS)
    record = (await build(settings, RandomVectors("mpnet"))).record
    assert record.dimension == 768 and record.params["made_up"] is True
