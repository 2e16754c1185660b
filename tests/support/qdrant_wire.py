"""Qdrant's gRPC surface, as far as we use it, in front of the client's own in-memory mode.

There is no package of a Qdrant server. This lets the adapter, the jobs and the recommender speak over a real socket, in
the messages that the client publishes; behind it searches are exact, and nothing is optimised or kept on a disk.
"""

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from qdrant_client import QdrantClient
from qdrant_client import grpc as wire
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.grpc import collections_service_pb2_grpc as collections_service
from qdrant_client.grpc import points_service_pb2_grpc as points_service

from services.common.settings import QdrantSettings


@dataclass
class QdrantWire:
    """`settings` reach it; `asked`: the calls so far, by name; `client` looks into it from inside."""

    port: int
    client: QdrantClient
    asked: list[str]

    @property
    def settings(self) -> QdrantSettings:
        return QdrantSettings(url="http://127.0.0.1", grpc_port=self.port, search_seconds=5.0)


@contextlib.contextmanager
def qdrant_wire(port: int = 0, client: QdrantClient | None = None) -> Iterator[QdrantWire]:
    """A front on `port`, 0 for a free one, with nothing in it or with what `client` holds."""
    client = client or QdrantClient(location=":memory:", force_disable_check_same_thread=True)
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 1 << 28)])
    asked: list[str] = []
    lock = threading.Lock()
    collections_service.add_CollectionsServicer_to_server(_Collections(client, asked, lock), server)
    points_service.add_PointsServicer_to_server(_Points(client, asked, lock), server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield QdrantWire(port, client, asked)
    finally:
        server.stop(grace=0.5).wait()


class _Servicer:
    """One call at a time: the in-memory mode is no server. What it refuses is answered as a server would."""

    def __init__(self, client: QdrantClient, asked: list[str], lock: threading.Lock) -> None:
        self.client = client
        self._asked = asked
        self._lock = lock

    def answer(self, name: str, context: Any, work: Callable[[], Any]) -> Any:
        self._asked.append(name)
        try:
            with self._lock, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return work()
        except ValueError as refused:
            context.abort(grpc.StatusCode.NOT_FOUND, str(refused))


class _Collections(_Servicer, collections_service.CollectionsServicer):
    def CollectionExists(self, request: Any, context: Any) -> Any:
        exists = self.client.collection_exists(request.collection_name)
        return wire.CollectionExistsResponse(result=wire.CollectionExists(exists=exists))

    def Create(self, request: Any, context: Any) -> Any:
        has = request.HasField
        vectors = GrpcToRest.convert_vectors_config(request.vectors_config) if has("vectors_config") else {}
        sparse = GrpcToRest.convert_sparse_vector_config(request.sparse_vectors_config)
        made = self.answer(
            "create",
            context,
            lambda: self.client.create_collection(
                request.collection_name, vectors_config=vectors, sparse_vectors_config=sparse or None
            ),
        )
        return wire.CollectionOperationResponse(result=made)

    def Get(self, request: Any, context: Any) -> Any:
        info = self.answer("get", context, lambda: self.client.get_collection(request.collection_name))
        return wire.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(info))

    def List(self, request: Any, context: Any) -> Any:
        found = self.answer("list", context, self.client.get_collections).collections
        return wire.ListCollectionsResponse(collections=[wire.CollectionDescription(name=each.name) for each in found])

    def Delete(self, request: Any, context: Any) -> Any:
        gone = self.answer("delete", context, lambda: self.client.delete_collection(request.collection_name))
        return wire.CollectionOperationResponse(result=gone)

    def UpdateAliases(self, request: Any, context: Any) -> Any:
        actions = [GrpcToRest.convert_alias_operations(action) for action in request.actions]
        done = self.answer("alias", context, lambda: self.client.update_collection_aliases(actions))
        return wire.CollectionOperationResponse(result=done)

    def ListAliases(self, request: Any, context: Any) -> Any:
        found = self.answer("aliases", context, self.client.get_aliases).aliases
        return wire.ListAliasesResponse(aliases=[RestToGrpc.convert_alias_description(each) for each in found])


class _Points(_Servicer, points_service.PointsServicer):
    def Upsert(self, request: Any, context: Any) -> Any:
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        done = self.answer("upsert", context, lambda: self.client.upsert(request.collection_name, points))
        return wire.PointsOperationResponse(result=RestToGrpc.convert_update_result(done))

    def Count(self, request: Any, context: Any) -> Any:
        found = self.answer("count", context, lambda: self.client.count(request.collection_name, exact=True))
        return wire.CountResponse(result=wire.CountResult(count=found.count))

    def Scroll(self, request: Any, context: Any) -> Any:
        after = GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None
        points, following = self.answer(
            "scroll",
            context,
            lambda: self.client.scroll(
                request.collection_name,
                limit=request.limit,
                offset=after,
                with_payload=request.with_payload.enable,
                with_vectors=request.with_vectors.enable,
            ),
        )
        page = None if following is None else RestToGrpc.convert_extended_point_id(following)
        return wire.ScrollResponse(
            result=[RestToGrpc.convert_record(_full(each)) for each in points], next_page_offset=page
        )

    def Query(self, request: Any, context: Any) -> Any:
        found = self.answer(
            "query",
            context,
            lambda: self.client.query_points(
                request.collection_name,
                query=GrpcToRest.convert_query(request.query),
                using=request.using if request.HasField("using") else None,
                query_filter=GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None,
                search_params=GrpcToRest.convert_search_params(request.params),
                limit=request.limit,
                with_payload=request.with_payload.enable,
            ),
        )
        return wire.QueryResponse(result=[RestToGrpc.convert_scored_point(_full(each)) for each in found.points])


def _full(point: Any) -> Any:
    """The converter takes an empty payload, and none not."""
    return point.model_copy(update={"payload": point.payload or {}})
