"""The log: making producers and topics, reading to an end, and what aiokafka cannot ask (ids, leaders, epochs)."""

from services.common.kafka.client import (
    ensure_topics,
    partition_ids,
    producer,
    read_to_end,
    refresh_metadata,
    wait_for_broker,
)
from services.common.kafka.metadata import (
    Described,
    Leader,
    Leaders,
    describe_topics,
    epoch_ends,
    partition_counts,
    topic_ids,
)

__all__ = [
    "Described", "Leader", "Leaders", "describe_topics", "ensure_topics", "epoch_ends", "partition_counts",
    "partition_ids", "producer", "read_to_end", "refresh_metadata", "topic_ids", "wait_for_broker",
]  # fmt: skip
