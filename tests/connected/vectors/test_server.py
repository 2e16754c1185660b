"""The Qdrant server adapter against the conformance suite, and the collections that it reads.

No Qdrant server can be had here. What answers is the client's own in-memory mode behind the server's gRPC surface: the
wire is real; 8-bit copies, the optimiser and the disk are not.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qdrant_client import AsyncQdrantClient

from contracts.models import LiveModel
from services.common.settings import QdrantSettings
from services.common.vectors.index import RemoteIndex, VectorIndex
from services.common.vectors.published import points_of
from services.common.vectors.server import (
    FAULTS,
    IncompleteCollectionError,
    client_of,
    connecting,
    drop_collections,
    switch_alias,
    write_collection,
)
from services.common.vectors.server_index import ServerIndex, assembled, blocking_index, read_collection
from services.local.processes.ports import free_port
from tests.connected.vectors.conformance import Conformance, bags_of_words, clustered
from tests.connected.vectors.versions import Told, names, record_of
from tests.support.qdrant_wire import QdrantWire, qdrant_wire
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected

SOME = 1_200


class TestServer(Conformance):
    # The in-memory mode takes far longer for a search than a server would.
    QUERIES = 6

    @classmethod
    @contextmanager
    def opened(cls, ids: NDArray[np.uint64], vectors: Any, tmp: Any) -> Iterator[VectorIndex]:
        record, songs = record_of(vectors), names(len(ids))
        given = dict(zip(points_of(songs).tolist(), ids.tolist(), strict=True))
        with qdrant_wire() as server:
            asyncio.run(_written(server, record, songs, vectors))
            with blocking_index(connecting(server.settings), record) as index:
                yield _Renamed(index, given)


async def _written(server: QdrantWire, record: LiveModel, songs: list[str], vectors: Any) -> None:
    async with connecting(server.settings)() as client:
        await write_collection(client, record, songs, vectors, Told())


class _Renamed:
    """The suite chooses its own ids; a collection's are those of its songs."""

    def __init__(self, index: ServerIndex, given: dict[int, int]) -> None:
        self._index = index
        self._given = given
        self._own = {id: point for point, id in given.items()}

    def search(self, query: Any, *, k: int, **lists: Any) -> Any:
        own = {name: np.array([self._own[id] for id in ids.tolist()], np.uint64) for name, ids in lists.items()}
        points, scores = self._index.search(query, k=k, **own)
        return np.array([self._given[point] for point in points.tolist()], np.uint64), scores

    def close(self) -> None:
        self._index.close()


@pytest.fixture
def server() -> Iterator[QdrantWire]:
    with qdrant_wire() as started:
        yield started


@pytest.fixture
async def client(server: QdrantWire) -> AsyncIterator[AsyncQdrantClient]:
    async with connecting(server.settings)() as made:
        yield made


@pytest.fixture(params=["dense", "sparse"])
def raw(request: pytest.FixtureRequest) -> Any:
    rng = np.random.default_rng(3)
    return clustered(rng, SOME) if request.param == "dense" else bags_of_words(rng, SOME)


def full(rows: Any) -> NDArray[np.float32]:
    return rows if isinstance(rows, np.ndarray) else rows.toarray()


async def test_rows_come_back_with_their_lengths(client, raw):
    record = record_of(raw)
    mixed = np.random.default_rng(0).permutation(SOME)
    await write_collection(client, record, [names(SOME)[at] for at in mixed], raw[mixed], Told())
    rows = assembled(await read_collection(client, record), record)
    assert rows.song_ids == names(SOME)
    np.testing.assert_allclose(full(rows.raw), full(raw), atol=2e-6, rtol=1e-6)
    assert rows.raw.dtype == np.float32


async def test_what_an_interrupted_job_left_is_completed_and_not_written_again(client, raw):
    record, told = record_of(raw), Told()

    def dies(what: str, done: int, steps: int) -> None:
        if done == 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await write_collection(client, record, names(SOME), raw, dies)
    with pytest.raises(IncompleteCollectionError, match=f"has 500 of {SOME} songs there"):
        await read_collection(client, record)
    await write_collection(client, record, names(SOME), raw, told)
    assert told.written() == [500, 1_000]
    again = Told()
    await write_collection(client, record, names(SOME), raw, again)
    assert again.written() == []
    rows = assembled(await read_collection(client, record), record)
    np.testing.assert_allclose(full(rows.raw), full(raw), atol=2e-6)


async def test_a_version_that_is_not_there_says_what_to_do(client, raw):
    with pytest.raises(IncompleteCollectionError, match="is not on the Qdrant server; `animusic models build"):
        await read_collection(client, record_of(raw))


async def test_a_row_of_zeros_is_refused(client):
    rows = np.zeros((3, 4), np.float32)
    with pytest.raises(ValueError, match="zeros"):
        await write_collection(client, record_of(rows), names(3), rows, Told())


async def test_the_alias_follows_the_switch_and_back(client, raw):
    old, new = record_of(raw), record_of(raw)
    for record in (old, new):
        await write_collection(client, record, names(SOME), raw, Told())
    for live in (old, new, old):
        await switch_alias(client, live)
        (alias,) = (await client.get_aliases()).aliases
        assert (alias.alias_name, alias.collection_name) == (live.arm, live.collection)


async def test_old_versions_are_dropped_and_other_arms_are_left_alone(client):
    rows = clustered(np.random.default_rng(1), 20)
    made = [record_of(rows, arm) for arm in ("mpnet", "mpnet", "minilm")]
    for record in made:
        await write_collection(client, record, names(20), rows, Told())
    assert await drop_collections(client, ["mpnet"], {made[1].collection}) == [made[0].collection]
    left = {each.name for each in (await client.get_collections()).collections}
    assert left == {made[1].collection, made[2].collection}


async def test_awaited_and_blocking_searches_find_the_same(client, raw):
    record = record_of(raw)
    await write_collection(client, record, names(SOME), raw, Told())
    index = ServerIndex(client, record, asyncio.get_running_loop())
    assert isinstance(index, RemoteIndex)
    query = raw[5] if isinstance(raw, np.ndarray) else (raw[[5]].indices.astype(np.int32), raw[[5]].data)
    awaited = await index.ask(query, k=7)
    blocking = await asyncio.to_thread(index.search, query, k=7)
    np.testing.assert_array_equal(awaited[0], blocking[0])
    with pytest.raises(RuntimeError, match="await ask"):
        index.search(query, k=7)


async def test_queries_of_another_kind_are_refused(client, raw):
    record = record_of(raw)
    await write_collection(client, record, names(SOME), raw, Told())
    index = ServerIndex(client, record, asyncio.get_running_loop())
    sparse = (np.array([1], np.int32), np.array([1.0], np.float32))
    with pytest.raises(ValueError, match="put to"):
        await index.ask(sparse if isinstance(raw, np.ndarray) else np.ones(4, np.float32), k=3)


async def test_a_server_that_does_not_answer_is_named_with_its_setting():
    url = f"http://127.0.0.1:{free_port()}"
    connect = connecting(QdrantSettings(url=url, grpc_port=free_port()))
    with pytest.raises(RuntimeError, match=f"Qdrant at {url}.*ANIMUSIC_QDRANT__URL"):
        async with connect() as client:
            await client.collection_exists("mpnet-1")


async def test_a_server_that_comes_back_is_asked_again(raw):
    record = record_of(raw)
    query = raw[5] if isinstance(raw, np.ndarray) else (raw[[5]].indices.astype(np.int32), raw[[5]].data)
    with qdrant_wire() as first:
        client = client_of(first.settings)
        await write_collection(client, record, names(SOME), raw, Told())
        index = ServerIndex(client, record, asyncio.get_running_loop())
        before = await index.ask(query, k=5)
    with pytest.raises(FAULTS):
        await index.ask(query, k=5)
    with qdrant_wire(first.port, first.client):

        async def answered() -> bool:
            with contextlib.suppress(*FAULTS):
                return bool(np.array_equal((await index.ask(query, k=5))[0], before[0]))
            return False

        await apoll(answered, what="the server answers again")
    await client.close()
