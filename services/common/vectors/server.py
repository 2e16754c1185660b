"""Collections on a Qdrant server, one a version, `<arm>-<version>`: how they are written, named and dropped.

A collection is complete in itself, so that a recommender on another machine needs no file of the job's: a point has the
song's row at length 1, and in its payload the song id and the length that the row had, which the mean of favoured songs
needs and a cosine collection forgets. Points are written once and never changed; a switch opens another collection.

The alias `<arm>` is moved beside the record in `animusic.models.v1`. It is for people and other tools: a recommender
opens the version that the record names, so a wrong alias does no harm.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import grpc  # type: ignore[import-untyped]
import numpy as np
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException

from contracts.models import LiveModel
from services.common.settings import QdrantSettings
from services.common.vectors.index import PointIds, unit
from services.common.vectors.published import points_of

# Makes a client for as long as the block lasts.
Connect = Callable[[], AbstractAsyncContextManager[AsyncQdrantClient]]
# Progress of a job: (current step, steps done, steps in all).
Report = Callable[[str, int, int], None]

SPARSE_NAME: Final = "sparse"
_INDEXED_KB: Final = 100
# What a server that is away, busy or of another mind raises here.
FAULTS: Final = (ApiException, QdrantException, grpc.RpcError, OSError, TimeoutError)
_WRITE_ROWS: Final = 500
_IDS_ROWS: Final = 10_000
_CALL_SECONDS: Final = 60
_RECONNECT_MS: Final = 2_000
_OPTIMISED_SECONDS: Final = 300.0
_POLL_SECONDS: Final = 0.2


class IncompleteCollectionError(LookupError):
    """The server does not hold all points of a version: the job that writes it has not ended, or never began."""


def connecting(settings: QdrantSettings) -> Connect:
    """A client factory for the server of the settings. In its block FAULTS become RuntimeError."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[AsyncQdrantClient]:
        client = client_of(settings)
        try:
            yield client
        except FAULTS as fault:
            where = f"{settings.url} (gRPC on port {settings.grpc_port})"
            what = fault_text(fault)
            raise RuntimeError(f"Qdrant at {where} fails: {what}; its address is ANIMUSIC_QDRANT__URL") from fault
        finally:
            await client.close()

    return connect


def fault_text(fault: BaseException) -> str:
    """The message of a fault in one line; gRPC's own text has five."""
    details = fault.details() if isinstance(fault, grpc.aio.AioRpcError) else fault
    return str(details) or type(fault).__name__


def client_of(settings: QdrantSettings) -> AsyncQdrantClient:
    """A client for the event loop that runs now; whoever asks for it closes it."""
    return AsyncQdrantClient(
        url=settings.url,
        grpc_port=settings.grpc_port,
        prefer_grpc=True,
        api_key=None if settings.api_key is None else settings.api_key.get_secret_value(),
        timeout=_CALL_SECONDS,
        # A server that comes back is asked again within seconds; gRPC's own patience grows to two minutes.
        grpc_options={"grpc.max_reconnect_backoff_ms": _RECONNECT_MS},
        # The check would ask by a request that blocks the event loop.
        check_compatibility=False,
    )


async def write_collection(
    client: AsyncQdrantClient, record: LiveModel, song_ids: Sequence[str], raw: Any, report: Report
) -> None:
    """Write a version's collection, unless it is there; what an interrupted job left is completed, not repeated.

    `raw`: float32 (n, d), or a scipy CSR of that shape; row i belongs to `song_ids[i]`. Returns when every point is
    stored and the server has optimised them. Raises one of FAULTS when the server fails; ValueError on
    a row of zeros.
    """
    name, points = record.collection, points_of(song_ids)
    if not await client.collection_exists(name):
        await client.create_collection(name, **(_dense_config(record) if record.vectors == "dense" else _SPARSE_CONFIG))
    missing = np.flatnonzero(~np.isin(points, await _stored(client, name)))
    for start in range(0, len(missing), _WRITE_ROWS):
        report("writing to Qdrant", len(song_ids) - len(missing) + start, len(song_ids))
        rows = missing[start : start + _WRITE_ROWS]
        await client.upsert(name, _points([song_ids[row] for row in rows], points[rows], raw[rows]), wait=True)
    report("Qdrant optimises", len(song_ids), len(song_ids))
    await _optimised(client, name)
    await check_complete(client, record)


async def switch_alias(client: AsyncQdrantClient, record: LiveModel) -> None:
    """Let the alias `<arm>` name this version, in one step."""
    aliases = (await client.get_aliases()).aliases
    operations: list[Any] = []
    if any(alias.alias_name == record.arm for alias in aliases):
        operations.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=record.arm)))
    named = models.CreateAlias(collection_name=record.collection, alias_name=record.arm)
    operations.append(models.CreateAliasOperation(create_alias=named))
    await client.update_collection_aliases(operations)


async def drop_collections(client: AsyncQdrantClient, arms: Iterable[str], keep: Collection[str]) -> list[str]:
    """Delete the collections of these arms but those to keep, by name; returns the names that are gone."""
    prefixes = tuple(f"{arm}-" for arm in arms)
    there = [each.name for each in (await client.get_collections()).collections]
    doomed = sorted(name for name in there if name.startswith(prefixes) and name not in keep)
    for name in doomed:
        await client.delete_collection(name)
    return doomed


async def check_complete(client: AsyncQdrantClient, record: LiveModel) -> None:
    """Raises IncompleteCollectionError unless every song of the version is on the server."""
    name = record.collection
    found = (await client.count(name, exact=True)).count if await client.collection_exists(name) else None
    if found != record.songs:
        held = "is not on the Qdrant server" if found is None else f"has {found} of {record.songs} songs there"
        raise IncompleteCollectionError(f"{name} {held}; `animusic models build {record.arm}` writes it")


async def _stored(client: AsyncQdrantClient, name: str) -> PointIds:
    """The ids of the points that are there."""
    found = [page async for page in pages(client, name, _IDS_ROWS, whole=False)]
    return np.array([point.id for page in found for point in page], dtype=np.uint64)


async def pages(client: AsyncQdrantClient, name: str, rows: int, *, whole: bool) -> AsyncIterator[list[Any]]:
    """All points of a collection, `rows` at a time; with vector and payload where `whole`."""
    after: Any = None
    while True:
        page, after = await client.scroll(name, limit=rows, offset=after, with_payload=whole, with_vectors=whole)
        yield page
        if after is None:
            return


async def _optimised(client: AsyncQdrantClient, name: str) -> None:
    """Wait until the server's optimiser rests. Raises TimeoutError."""
    async with asyncio.timeout(_OPTIMISED_SECONDS):
        while True:
            if (await client.get_collection(name)).status is not models.CollectionStatus.YELLOW:
                return
            await asyncio.sleep(_POLL_SECONDS)


def _points(song_ids: Sequence[str], ids: PointIds, rows: Any) -> list[models.PointStruct]:
    return [
        models.PointStruct(id=id, vector=vector, payload={"song_id": song_id, "length": length})
        for id, song_id, (vector, length) in zip(ids.tolist(), song_ids, _vectors(rows), strict=True)
    ]


def _vectors(rows: Any) -> Iterable[tuple[Any, float]]:
    """Each row at length 1 as the client takes it, and the length that it had. Raises ValueError on zeros."""
    if isinstance(rows, np.ndarray):
        for row in rows:
            yield (unit(row).tolist(), float(np.linalg.norm(row)))
        return
    for row in range(rows.shape[0]):
        span = slice(rows.indptr[row], rows.indptr[row + 1])
        weights = rows.data[span].astype(np.float32)
        sparse = models.SparseVector(indices=rows.indices[span].tolist(), values=unit(weights).tolist())
        yield {SPARSE_NAME: sparse}, float(np.linalg.norm(weights))


def _dense_config(record: LiveModel) -> dict[str, Any]:
    scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
    return {
        "vectors_config": models.VectorParams(size=record.dimension, distance=models.Distance.COSINE),
        # No graph (docs/decisions/0007); a low threshold, so that the 8-bit copies are made of any catalogue.
        "hnsw_config": models.HnswConfigDiff(m=0),
        "optimizers_config": models.OptimizersConfigDiff(indexing_threshold=_INDEXED_KB),
        "quantization_config": models.ScalarQuantization(scalar=scalar),
    }


_SPARSE_CONFIG: Final[dict[str, Any]] = {
    "vectors_config": {},
    "sparse_vectors_config": {SPARSE_NAME: models.SparseVectorParams()},
}
