"""Marks: a store's high-water mark in each partition of the log.

A mark is the offset of the *next* record: the store reflects every record before it. Its name has the topic's id and
the partition. A topic that was deleted and created again has another id, so its records are read from the start.
"""

from typing import NamedTuple


class MarkName(NamedTuple):
    """The partition that a mark belongs to. `topic_id` is 32 hex digits."""

    topic_id: str
    partition: int

    def field(self) -> str:
        """The name as stores keep it: `topic_id/partition`."""
        return f"{self.topic_id}/{self.partition}"

    @classmethod
    def parse(cls, field: str) -> "MarkName":
        """The inverse of `field`. Raises ValueError on anything else."""
        topic_id, _, partition = field.partition("/")
        if len(topic_id) != 32:
            raise ValueError(f"not a mark's name: {field!r}; it must be `topic_id/partition`")
        return cls(topic_id, int(partition))
