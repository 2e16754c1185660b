"""Where the records of a leader's epoch end: how a reader finds out that a log was cut behind it.

A log that loses its tail (an unclean election, a disk that lied) gets its next records at the offsets of the lost ones.
By offsets alone nobody notices once it has grown again. Kafka numbers its leaders, and each batch bears the number of
the leader that took it: the first offset of a later epoch is where a reader of the earlier one must go on.

aiokafka 0.14 does not ask (OffsetForLeaderEpoch); so the one version is spelled out here, in its own terms.
"""

from collections.abc import Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Int64, Schema, String

from services.common.kafka_topic_id import Leader

_KEY: Final = 23
_VERSION: Final = 3
_A_CONSUMER: Final = -1
_UNKNOWN: Final = -1


async def epoch_ends(bootstrap_servers: str, asked: Mapping[TopicPartition, Leader]) -> dict[TopicPartition, int]:
    """Partition → the offset behind the last record of the named epoch, or of the last one before it.

    `asked`: the broker that leads now, and the epoch in question. A partition of which it does not know is left out.
    Raises aiokafka's KafkaError and OSError.
    """
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers)
    try:
        await client.bootstrap()
        found: dict[TopicPartition, int] = {}
        for node in {leader.node for leader in asked.values()}:
            mine = {tp: leader.epoch for tp, leader in asked.items() if leader.node == node}
            answer = await client.send(node, _EndsRequest(mine))
            found |= _ends(answer.topics)
        return found
    finally:
        await client.close()


def _ends(topics: Any) -> dict[TopicPartition, int]:
    return {
        TopicPartition(topic, partition): end
        for topic, partitions in topics
        for error, partition, _epoch, end in partitions
        if not error and end != _UNKNOWN
    }


class _EndsResponseV3(Response):  # type: ignore[misc]  # aiokafka carries no types
    API_KEY = _KEY
    API_VERSION = _VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", String()),
                (
                    "partitions",
                    Array(("error_code", Int16), ("partition", Int32), ("leader_epoch", Int32), ("end_offset", Int64)),
                ),
            ),
        ),
    )


class _EndsRequestV3(RequestStruct):  # type: ignore[misc]  # aiokafka carries no types
    API_KEY = _KEY
    API_VERSION = _VERSION
    RESPONSE_TYPE = _EndsResponseV3
    SCHEMA = Schema(
        ("replica_id", Int32),
        (
            "topics",
            Array(
                ("topic", String()),
                ("partitions", Array(("partition", Int32), ("current_leader_epoch", Int32), ("leader_epoch", Int32))),
            ),
        ),
    )


class _EndsRequest(Request[_EndsRequestV3]):  # type: ignore[misc]  # aiokafka carries no types
    API_KEY = _KEY

    def __init__(self, epochs: Mapping[TopicPartition, int]) -> None:
        topics = sorted({tp.topic for tp in epochs})
        self._topics = [
            (topic, [(tp.partition, _UNKNOWN, epoch) for tp, epoch in epochs.items() if tp.topic == topic])
            for topic in topics
        ]

    def build(self, request_struct_class: type[_EndsRequestV3]) -> _EndsRequestV3:
        return request_struct_class(_A_CONSUMER, self._topics)
