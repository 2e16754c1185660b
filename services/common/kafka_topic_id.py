"""The ids of topics: a topic that was deleted and made again has the same name and another id. And who leads them.

aiokafka 0.14 speaks Metadata up to version 5; ids came with version 10 (Kafka 2.8). So that one version is
spelled out here, in aiokafka's own terms, and sent through its client. The layout is in Kafka's protocol guide.
"""

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

METADATA = 3
WITH_TOPIC_IDS = 10
UNKNOWN_TOPIC = 3
NEW_TOPIC_WAIT_S = 1.0
NO_ID = uuid.UUID(int=0)


class Leader(NamedTuple):
    """The broker that leads a partition, and its epoch: the number goes up whenever another start or broker leads."""

    node: int
    epoch: int


class Looked(NamedTuple):
    """Topic → id as 32 lower-case hex digits; partition → leader, of the partitions that have one just now."""

    ids: dict[str, str]
    leaders: dict[TopicPartition, Leader]


async def topic_ids(bootstrap_servers: str, topics: Sequence[str]) -> dict[str, str]:
    """name → id as 32 lower-case hex digits, for each of `topics`. Raises what `look` raises."""
    return (await look(bootstrap_servers, topics)).ids


async def look(bootstrap_servers: str, topics: Sequence[str]) -> Looked:
    """What the log says of these topics now.

    A topic that was just made is waited for: brokers learn of it some milliseconds after its maker was answered.
    Raises ConnectionError when no broker answers, LookupError when the log has no such topic, aiokafka's
    KafkaError for what else the broker says, RuntimeError when the brokers are too old to know topic ids.
    """
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers)
    try:
        await client.bootstrap()
        found = await _known_topics(client, topics)
        return Looked(_ids(found), _leaders(found))
    except (KafkaConnectionError, OSError) as error:
        raise ConnectionError(
            f"no Kafka broker answered at {bootstrap_servers}; is it running? "
            "The address is ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS"
        ) from error
    except (IncompatibleBrokerVersion, NotImplementedError) as error:
        raise RuntimeError(f"the Kafka at {bootstrap_servers} knows no topic ids; 2.8 or newer is needed") from error
    finally:
        await client.close()


async def _known_topics(client: AIOKafkaClient, names: Sequence[str]) -> list[Sequence[Any]]:
    deadline = asyncio.get_running_loop().time() + NEW_TOPIC_WAIT_S
    while True:
        answer = await client.send(client.get_random_node(), _TopicsRequest(names))
        unknown = any(topic[0] == UNKNOWN_TOPIC for topic in answer.topics)
        if not unknown or asyncio.get_running_loop().time() > deadline:
            return list(answer.topics)
        await asyncio.sleep(0.05)


def _ids(topics: Iterable[Sequence[Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for code, name, topic_id, *_rest in topics:
        if code == UNKNOWN_TOPIC:
            raise LookupError(f"the log has no topic {name}; `animusic topics` creates what is missing")
        # A topic without a leader just now carries an error and its id all the same.
        if topic_id == NO_ID:
            raise for_code(code)(f"the broker did not tell the id of topic {name}")
        found[name] = topic_id.hex
    return found


def _leaders(topics: Iterable[Sequence[Any]]) -> dict[TopicPartition, Leader]:
    return {
        TopicPartition(name, number): Leader(leader, epoch)
        for _code, name, _id, _internal, partitions, *_rest in topics
        for _error, number, leader, epoch, *_more in partitions
        if leader >= 0
    }


class _Uuid:
    """16 bytes, in aiokafka's way of naming a field's type."""

    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        return uuid.UUID(bytes=data.read(16))

    @classmethod
    def repr(cls, value: uuid.UUID) -> str:
        return repr(value)


_BROKER = Schema(
    ("node_id", Int32), ("host", CompactString()), ("port", Int32), ("rack", CompactString()), ("tags", TaggedFields)
)
_PARTITION = Schema(
    ("error_code", Int16),
    ("partition", Int32),
    ("leader", Int32),
    ("leader_epoch", Int32),
    ("replicas", CompactArray(Int32)),
    ("isr", CompactArray(Int32)),
    ("offline_replicas", CompactArray(Int32)),
    ("tags", TaggedFields),
)
_TOPIC = Schema(
    ("error_code", Int16),
    ("name", CompactString()),
    ("topic_id", _Uuid),
    ("is_internal", Boolean),
    ("partitions", CompactArray(_PARTITION)),
    ("authorized_operations", Int32),
    ("tags", TaggedFields),
)
_WANTED = Schema(("topic_id", _Uuid), ("name", CompactString()), ("tags", TaggedFields))


class _TopicsResponseV10(Response):  # type: ignore[misc]  # aiokafka carries no types
    API_KEY = METADATA
    API_VERSION = WITH_TOPIC_IDS
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(_BROKER)),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        ("topics", CompactArray(_TOPIC)),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _TopicsRequestV10(RequestStruct):  # type: ignore[misc]  # aiokafka carries no types
    FLEXIBLE_VERSION = True
    API_KEY = METADATA
    API_VERSION = WITH_TOPIC_IDS
    RESPONSE_TYPE = _TopicsResponseV10
    SCHEMA = Schema(
        ("topics", CompactArray(_WANTED)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _TopicsRequest(Request[_TopicsRequestV10]):  # type: ignore[misc]  # aiokafka carries no types
    API_KEY = METADATA

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics: list[tuple[uuid.UUID, str, dict[int, bytes]]] = [(NO_ID, name, {}) for name in topics]

    def build(self, request_struct_class: type[_TopicsRequestV10]) -> _TopicsRequestV10:
        return request_struct_class(self._topics, False, False, False, {})
