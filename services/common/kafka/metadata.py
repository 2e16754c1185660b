"""Requests that aiokafka 0.14 lacks: topic ids, the leader of each partition, and the end of a leader's epoch.

A topic that was deleted and made again has the same name and another id. A log that loses its tail (an unclean
election, a disk that lied) gets its next records at the offsets of the lost ones, and by offsets alone this cannot be
seen once it has grown again. Kafka numbers its leaders, and each batch bears the number of the leader that took it: the
first offset of a later epoch is where a reader of the earlier one must go on.

aiokafka speaks Metadata up to version 5, and ids came with version 10 (Kafka 2.8); OffsetForLeaderEpoch it does not
speak. So one version of each is written out here as Kafka's protocol guide has it, and sent through aiokafka's client.
tests/unit/consuming/test_upstream.py fails when aiokafka has learnt either.
"""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

from services.common.settings import KafkaSettings

METADATA: Final = 3
WITH_TOPIC_IDS: Final = 10
OFFSET_FOR_LEADER_EPOCH: Final = 23
_UNKNOWN_TOPIC: Final = 3
_NEW_TOPIC_SECONDS: Final = 1.0
_NO_ID: Final = uuid.UUID(int=0)
_CONSUMER: Final = -1
_UNKNOWN: Final = -1


class Leader(NamedTuple):
    """The broker that leads a partition, and its epoch: the number goes up whenever another start or broker leads."""

    node: int
    epoch: int


Leaders = Mapping[TopicPartition, Leader]


class Described(NamedTuple):
    """Topic → id as 32 lower-case hex digits; partition → leader, if it has one just now; topic → partitions."""

    ids: dict[str, str]
    leaders: dict[TopicPartition, Leader]
    partitions: dict[str, int]


async def topic_ids(bootstrap_servers: str, topics: Sequence[str]) -> dict[str, str]:
    """name → id as 32 lower-case hex digits, for each of `topics`. Raises what `describe_topics` raises."""
    return (await describe_topics(bootstrap_servers, topics)).ids


async def partition_counts(settings: KafkaSettings, topics: Sequence[str]) -> dict[str, int]:
    """How many partitions each of these topics has now. Raises what `describe_topics` raises."""
    return (await describe_topics(settings.bootstrap_servers, topics)).partitions


async def describe_topics(bootstrap_servers: str, topics: Sequence[str]) -> Described:
    """Describe these topics.

    Retries for a new topic: brokers learn of it some milliseconds after its creator got the answer.
    Raises ConnectionError when no broker answers, LookupError when the log has no such topic, aiokafka's
    KafkaError for what else the broker says, RuntimeError when the brokers are too old to know topic ids.
    """
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers)
    try:
        await client.bootstrap()
        return _described(await _known_topics(client, topics))
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
    deadline = asyncio.get_running_loop().time() + _NEW_TOPIC_SECONDS
    while True:
        answer = await client.send(client.get_random_node(), _TopicsRequest(names))
        unknown = any(topic[0] == _UNKNOWN_TOPIC for topic in answer.topics)
        if not unknown or asyncio.get_running_loop().time() > deadline:
            return list(answer.topics)
        await asyncio.sleep(0.05)


def _described(topics: Sequence[Sequence[Any]]) -> Described:
    found = Described({}, {}, {})
    for code, name, topic_id, _internal, partitions, *_rest in topics:
        if code == _UNKNOWN_TOPIC:
            raise LookupError(f"the log has no topic {name}; `animusic topics` creates what is missing")
        # A topic without a leader just now carries an error and its id all the same.
        if topic_id == _NO_ID:
            raise for_code(code)(f"the broker did not return the id of topic {name}")
        found.ids[name] = topic_id.hex
        found.partitions[name] = len(partitions)
        for _error, number, leader, epoch, *_more in partitions:
            if leader >= 0:
                found.leaders[TopicPartition(name, number)] = Leader(leader, epoch)
    return found


async def epoch_ends(bootstrap_servers: str, epochs: Leaders) -> dict[TopicPartition, int]:
    """Partition → the offset behind the last record of the named epoch, or of the last one before it.

    `epochs`: the broker that leads now, and the epoch in question. A partition of which it does not know is left out.
    Raises aiokafka's KafkaError and OSError.
    """
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers)
    try:
        await client.bootstrap()
        found: dict[TopicPartition, int] = {}
        for node in {leader.node for leader in epochs.values()}:
            answer = await client.send(
                node, _EpochEndsRequest({tp: leader.epoch for tp, leader in epochs.items() if leader.node == node})
            )
            found |= {
                TopicPartition(topic, partition): end
                for topic, partitions in answer.topics
                for error, partition, _epoch, end in partitions
                if not error and end != _UNKNOWN
            }
        return found
    finally:
        await client.close()


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


_TAGS: Final = ("tags", TaggedFields)
_BROKER: Final = Schema(
    ("node_id", Int32), ("host", CompactString()), ("port", Int32), ("rack", CompactString()), _TAGS
)
_PARTITION: Final = Schema(
    ("error_code", Int16), ("partition", Int32), ("leader", Int32), ("leader_epoch", Int32),
    ("replicas", CompactArray(Int32)), ("isr", CompactArray(Int32)), ("offline_replicas", CompactArray(Int32)), _TAGS,
)  # fmt: skip
_TOPIC: Final = Schema(
    ("error_code", Int16), ("name", CompactString()), ("topic_id", _Uuid), ("is_internal", Boolean),
    ("partitions", CompactArray(_PARTITION)), ("authorized_operations", Int32), _TAGS,
)  # fmt: skip


class _TopicsResponseV10(Response):  # type: ignore[misc]  # aiokafka carries no types
    API_KEY = METADATA
    API_VERSION = WITH_TOPIC_IDS
    SCHEMA = Schema(
        ("throttle_time_ms", Int32), ("brokers", CompactArray(_BROKER)), ("cluster_id", CompactString()),
        ("controller_id", Int32), ("topics", CompactArray(_TOPIC)), ("cluster_authorized_operations", Int32), _TAGS,
    )  # fmt: skip


class _TopicsRequestV10(RequestStruct):  # type: ignore[misc]  # aiokafka carries no types
    FLEXIBLE_VERSION = True
    API_KEY = METADATA
    API_VERSION = WITH_TOPIC_IDS
    RESPONSE_TYPE = _TopicsResponseV10
    SCHEMA = Schema(
        ("topics", CompactArray(Schema(("topic_id", _Uuid), ("name", CompactString()), _TAGS))),
        ("allow_auto_topic_creation", Boolean), ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean), _TAGS,
    )  # fmt: skip


class _TopicsRequest(Request[_TopicsRequestV10]):  # type: ignore[misc]  # aiokafka carries no types
    API_KEY = METADATA

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics: list[tuple[uuid.UUID, str, dict[int, bytes]]] = [(_NO_ID, name, {}) for name in topics]

    def build(self, request_struct_class: type[_TopicsRequestV10]) -> _TopicsRequestV10:
        return request_struct_class(self._topics, False, False, False, {})


_END: Final = (("error_code", Int16), ("partition", Int32), ("leader_epoch", Int32), ("end_offset", Int64))
_ASKED: Final = (("partition", Int32), ("current_leader_epoch", Int32), ("leader_epoch", Int32))


class _EpochEndsResponseV3(Response):  # type: ignore[misc]  # aiokafka carries no types
    API_KEY = OFFSET_FOR_LEADER_EPOCH
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32), ("topics", Array(("topic", String()), ("partitions", Array(*_END))))
    )  # fmt: skip


class _EpochEndsRequestV3(RequestStruct):  # type: ignore[misc]  # aiokafka carries no types
    API_KEY = OFFSET_FOR_LEADER_EPOCH
    API_VERSION = 3
    RESPONSE_TYPE = _EpochEndsResponseV3
    SCHEMA = Schema(("replica_id", Int32), ("topics", Array(("topic", String()), ("partitions", Array(*_ASKED)))))


class _EpochEndsRequest(Request[_EpochEndsRequestV3]):  # type: ignore[misc]  # aiokafka carries no types
    API_KEY = OFFSET_FOR_LEADER_EPOCH

    def __init__(self, epochs: Mapping[TopicPartition, int]) -> None:
        self._topics = [
            (topic, [(tp.partition, _UNKNOWN, epoch) for tp, epoch in epochs.items() if tp.topic == topic])
            for topic in sorted({tp.topic for tp in epochs})
        ]

    def build(self, request_struct_class: type[_EpochEndsRequestV3]) -> _EpochEndsRequestV3:
        return request_struct_class(_CONSUMER, self._topics)
