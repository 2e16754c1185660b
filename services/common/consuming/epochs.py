"""Which leader's records were read: a log that was cut and grew again is told from one that only grew.

Noted is the epoch that the log named *before* it was looked how far a partition was read, so records behind that place
may be of a later epoch, never the other way round. When the log names another epoch, whatever was read from the end of
the noted one on may have been replaced, and is read again; most often nothing was, and a few seconds come twice.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from aiokafka import TopicPartition

from services.common.kafka_topic_id import Leader

Leaders = Mapping[TopicPartition, Leader]
EpochEnds = Callable[[Leaders], Awaitable[Mapping[TopicPartition, int]]]


class Noted(NamedTuple):
    """An epoch, and the offset before which all was read when it was noted."""

    epoch: int
    read: int


class Epochs:
    """What was noted of each followed partition."""

    def __init__(self) -> None:
        self._noted: dict[TopicPartition, Noted] = {}

    def note(self, tp: TopicPartition, leader: Leader | None, read: int) -> None:
        """All before `read` was read under this leader or one before it."""
        if leader is not None:
            self._noted[tp] = Noted(leader.epoch, read)

    def forget(self) -> None:
        """Other partitions are followed from now on."""
        self._noted.clear()

    def read(self, tp: TopicPartition) -> int:
        """How far a partition was read when it was noted last; 0 where it never was."""
        return self._noted[tp].read if tp in self._noted else 0

    def over(self, leaders: Leaders) -> dict[TopicPartition, Leader]:
        """The noted epochs that are over, with the broker that knows where they ended."""
        return {
            tp: Leader(leader.node, self._noted[tp].epoch)
            for tp, leader in leaders.items()
            if tp in self._noted and leader.epoch > self._noted[tp].epoch
        }
