"""What is served follows the records: a version that cannot be opened costs nothing, an old one ends when it may."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.models import LiveModel
from contracts.topics import CATALOGUE, MODELS
from services.common.vectors.edge import EdgeIndex
from services.common.vectors.index import Found, Query
from services.recommender.metrics import BEHIND
from services.recommender.models import ServedModel, open_model
from services.recommender.prefetch import Prefetcher
from services.recommender.snapshots import CatalogueSnapshot, SnapshotStore
from tests.support.waiting import apoll
from tests.unit.recommender.made_up import LOVED, clustered, composer, context, mixed_songs, publish, view

SONGS = mixed_songs()
NAMES = [song.song_id for song in SONGS]


def catalogue_records() -> list[Any]:
    return [SimpleNamespace(topic=CATALOGUE.name, key=s.song_id.encode(), value=s.log_value()) for s in SONGS]


def switch(record: LiveModel) -> Any:
    return SimpleNamespace(topic=MODELS.name, key=record.arm.encode(), value=record.log_value())


class FarIndex:
    """A shard that answers as if it lay on another machine: `delay` seconds later."""

    def __init__(self, index: EdgeIndex, delay: Callable[[], float]) -> None:
        self._index = index
        self._delay = delay
        self.closed = False
        self.asked_too_late = 0

    async def ask(self, query: Query, *, k: int, **lists: Any) -> Found:
        await asyncio.sleep(self._delay())
        return self.search(query, k=k, **lists)

    def search(self, query: Query, *, k: int, **lists: Any) -> Found:
        self.asked_too_late += self.closed
        return self._index.search(query, k=k, **lists)

    def close(self) -> None:
        self.closed = True
        self._index.close()


class Shelf:
    """The versions of one arm in a directory, some of them far, some broken; and what was made of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.broken: set[str] = set()
        self.versions: list[LiveModel] = []
        self.far: list[FarIndex] = []
        self.delay: Callable[[], float] | None = None

    def version(self, seed: int) -> LiveModel:
        return publish(self.directory, "mpnet", NAMES, clustered(len(NAMES), 16, seed))

    def open(self, record: LiveModel) -> ServedModel:
        if record.version in self.broken:
            raise FileNotFoundError(f"no published model {record.collection}")
        model = open_model(record, self.directory)
        if self.delay is None:
            return model
        far = FarIndex(model.index, self.delay)
        self.far.append(far)
        return ServedModel(record, model.song_ids, model.raw, far)


@contextlib.asynccontextmanager
async def following(shelf: Shelf) -> AsyncIterator[SnapshotStore]:
    snapshots, caught_up = SnapshotStore(shelf.open, quiet_seconds=0, retry_seconds=0.02), asyncio.Event()
    caught_up.set()
    snapshots.take(catalogue_records())
    task = asyncio.create_task(snapshots.run(caught_up))
    try:
        await asyncio.wait_for(snapshots.ready.wait(), 10)
        yield snapshots
    finally:
        task.cancel()


async def serves(snapshots: SnapshotStore, record: LiveModel) -> None:
    async def live() -> bool:
        bound = snapshots.current.models.get(record.arm)
        return bound is not None and bound.version == record.version and not snapshots.current.behind

    await apoll(live, what=f"{record.collection} is served")


async def is_behind(snapshots: SnapshotStore) -> None:
    async def behind() -> bool:
        return "mpnet" in snapshots.current.behind

    await apoll(behind, what="mpnet is behind its record")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


async def test_an_arm_without_a_version_is_left_out_until_it_has_one(shelf: Shelf):
    first = shelf.version(1)
    shelf.broken.add(first.version)
    async with following(shelf) as snapshots:
        assert snapshots.current.left_out["mpnet"] == "not built: animusic models build mpnet"
        snapshots.take([switch(first)])

        async def said() -> bool:
            return first.collection in snapshots.current.left_out["mpnet"]

        await apoll(said, what="the missing version is named")
        assert snapshots.current.behind == {}
        shelf.broken.clear()
        await serves(snapshots, first)
        assert "mpnet" not in snapshots.current.left_out


async def test_a_version_that_cannot_be_opened_leaves_the_one_before(shelf: Shelf, caplog: pytest.LogCaptureFixture):
    first, second = shelf.version(1), shelf.version(2)
    shelf.broken.add(second.version)
    async with following(shelf) as snapshots:
        snapshots.take([switch(first)])
        await serves(snapshots, first)
        snapshots.take([switch(second)])
        await is_behind(snapshots)
        snapshot = snapshots.current
        assert snapshot.models["mpnet"].version == first.version
        assert "mpnet" not in snapshot.left_out
        assert second.collection in snapshot.behind["mpnet"]
        assert BEHIND.labels("mpnet")._value.get() == 1
        assert f"{second.collection} cannot be opened, the arm serves {first.collection}" in caplog.text
        said = caplog.text.count("cannot be opened")
        shelf.broken.clear()
        await serves(snapshots, second)
        assert BEHIND.labels("mpnet")._value.get() == 0
        assert caplog.text.count("cannot be opened") == said == 1


async def test_a_rollback_ends_the_wait_for_a_version_that_never_came(shelf: Shelf):
    first, second = shelf.version(1), shelf.version(2)
    shelf.broken.add(second.version)
    async with following(shelf) as snapshots:
        snapshots.take([switch(first)])
        await serves(snapshots, first)
        model = snapshots.current.models["mpnet"].model
        snapshots.take([switch(second)])
        await is_behind(snapshots)
        snapshots.take([switch(first)])
        await serves(snapshots, first)
        assert snapshots.current.models["mpnet"].model is model
        third = shelf.version(3)
        snapshots.take([switch(third)])
        await serves(snapshots, third)


async def test_snapshots_are_frozen_for_the_gc_and_freed_by_refcount(shelf: Shelf):
    """A full collection would stand still over every song of the catalogue; what is set aside must not need it."""
    async with following(shelf) as snapshots:
        gc.disable()
        try:
            former, songs = weakref.ref(snapshots.current), weakref.ref(snapshots.current.catalogue)
            looked_at = {id(thing) for thing in gc.get_objects()}
            assert id(former()) not in looked_at
            assert not any(id(entry) in looked_at for entry in snapshots._entries.values())
            snapshots.take([SimpleNamespace(topic=CATALOGUE.name, key=SONGS[0].song_id.encode(), value=None)])

            async def freed() -> bool:
                return former() is None and songs() is None

            await apoll(freed, what="the former snapshot is freed")
            assert len(snapshots.current.catalogue) == len(SONGS) - 1
        finally:
            gc.enable()


async def test_an_old_version_is_closed_after_its_last_use(shelf: Shelf):
    shelf.delay = lambda: 0.0
    first, second = shelf.version(1), shelf.version(2)
    async with following(shelf) as snapshots:
        snapshots.take([switch(first)])
        await serves(snapshots, first)
        held: CatalogueSnapshot | None = snapshots.current
        snapshots.take([switch(second)])
        await serves(snapshots, second)
        assert held is not None
        assert held.models["mpnet"].version == first.version
        index = held.models["mpnet"].model.index
        assert len(index.search(clustered(1, 16)[0], k=3)[0]) == 3
        held = None
        assert index.closed
        assert not snapshots.current.models["mpnet"].model.index.closed


# What happens, and for a playlist how many ms its index takes.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("switch"), st.integers(0, 2)),
        st.tuples(st.just("break"), st.integers(0, 2)),
        st.tuples(st.sampled_from(["mend", "wait"]), st.just(0)),
        st.tuples(st.just("play"), st.integers(0, 40)),
    ),
    min_size=4,
    max_size=16,
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_no_playlist_mixes_versions_and_none_fails_whatever_is_switched_meanwhile(three: Shelf, steps):
    three.broken.clear()
    asyncio.run(_interleaved(three, steps))


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Three versions, made once."""
    shelf = Shelf(tmp_path_factory.mktemp("three"))
    shelf.versions = [shelf.version(seed) for seed in range(3)]
    return shelf


async def _interleaved(shelf: Shelf, steps: list[tuple[str, int]]) -> None:
    """Playlists that wait for their index while versions come, go and break."""
    delay = [0.0]
    shelf.delay = lambda: delay[0]
    playing = []
    async with following(shelf) as snapshots:
        snapshots.take([switch(shelf.versions[0])])
        await serves(snapshots, shelf.versions[0])
        # Whatever is drawn, somebody plays: an example without a playlist would say nothing.
        for what, number in [*steps, ("play", 5)]:
            delay[0] = number / 1_000
            if what == "switch":
                snapshots.take([switch(shelf.versions[number])])
            elif what == "break":
                shelf.broken.add(shelf.versions[number].version)
            elif what == "mend":
                shelf.broken.clear()
            elif what == "wait":
                await asyncio.sleep(0.015)
            else:
                playing.append(asyncio.create_task(_play(snapshots.current, len(playing))))
            await asyncio.sleep(0)
        for model_version, score, expected, world_version in await asyncio.gather(*playing):
            assert model_version == world_version
            assert score == pytest.approx(expected, abs=1e-3)
    assert not any(far.asked_too_late for far in shelf.far)


async def _play(snapshot: CatalogueSnapshot, number: int) -> tuple[str | None, float, float, str]:
    """(version of the slot, its score, the best score in the snapshot's own version, that version)."""
    maker, someone = composer(seed=number), view(snapshot.catalogue, songs={f"s{number:03d}": LOVED})
    await maker.prefetch(snapshot, someone, Prefetcher(5.0))
    playlist = maker.new(snapshot, someone, context(number)).playlist
    bound = snapshot.models["mpnet"]
    (slot,) = [slot for slot in playlist.slots if slot.arm == "mpnet"]
    row = bound.model.row_of[slot.song_id]
    vector = bound.model.total(bound.model.rows_of([f"s{number:03d}"]))
    return slot.model_version, slot.score, float(bound.model.scores(vector)[row]), bound.version


async def test_an_index_that_hangs_is_skipped_for_a_while(shelf: Shelf):
    asked: list[float] = []

    def hangs() -> float:
        asked.append(1)
        return 60.0

    shelf.delay = hangs
    first, now = shelf.version(1), [0.0]
    async with following(shelf) as snapshots:
        snapshots.take([switch(first)])
        await serves(snapshots, first)
        prefetcher = Prefetcher(0.02, clock=lambda: now[0])
        for number, expected in enumerate([1, 1, 2]):
            now[0] = 0.0 if number < 2 else 6.0
            someone = view(snapshots.current.catalogue, songs={f"s{number:03d}": LOVED})
            maker = composer(seed=number)
            await maker.prefetch(snapshots.current, someone, prefetcher)
            playlist = maker.new(snapshots.current, someone, context(number)).playlist
            assert "mpnet" in {slot.arm for slot in playlist.slots}
            assert len(asked) == expected


def test_a_remote_index_and_a_local_one_pick_the_same_song(shelf: Shelf):
    async def both() -> None:
        record = shelf.version(4)
        near = shelf.open(record)
        shelf.delay = lambda: 0.0
        async with following(shelf) as snapshots:
            snapshots.take([switch(record)])
            await serves(snapshots, record)
            snapshot = snapshots.current
            mask = np.ones(len(NAMES), dtype=bool)
            assert near.remote is None
            assert [bound.version for bound in snapshot.remote] == [record.version]
            for number in range(8):
                _, score, best, _ = await _play(snapshot, number)
                vector = near.total(near.rows_of([f"s{number:03d}"]))
                assert score == pytest.approx(best, abs=1e-3)
                assert near.scores(vector)[mask].max() >= score - 1e-3

    asyncio.run(both())
