"""Marks: how far into the log a store has come.

A mark is the offset of the *next* record: everything before it has had its effect. It is named by the topic's id and
the partition, so a topic that was deleted and made again is another topic, and its records are read from the start.
"""

from typing import NamedTuple


class MarkName(NamedTuple):
    """Which log a mark measures. `topic_id` is 32 hex digits."""

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
            raise ValueError(f"not the name of a mark: {field!r}")
        return cls(topic_id, int(partition))
