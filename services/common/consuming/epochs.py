"""Which leader's records were read: a log that was cut and grew again is told from one that only grew.

Noted is the epoch that the log named *before* it was looked how far a partition was read, so records behind that place
may be of a later epoch, never the other way round. When the log names another epoch, whatever was read from the end of
the noted one on may have been replaced, and is read again; most often nothing was, and a few seconds come twice.

What was noted goes along with the offsets that are committed to Kafka. They decide nothing about where a consumer goes
on - the store's mark does - but one that was away while the log was cut learns from them that it must go further back.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from aiokafka import TopicPartition

from services.common.kafka_topic_id import Leader

Leaders = Mapping[TopicPartition, Leader]
_WORDS = re.compile(r"read to (\d+) under epoch (\d+)")
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

    def words(self, tp: TopicPartition) -> str:
        """What was noted of a partition, to be committed with its offset; "" for nothing."""
        noted = self._noted.get(tp)
        return "" if noted is None else f"read to {noted.read} under epoch {noted.epoch}"

    def recall(self, tp: TopicPartition, words: str) -> None:
        """Note again what was committed."""
        found = _WORDS.fullmatch(words)
        if found is not None:
            self._noted[tp] = Noted(epoch=int(found.group(2)), read=int(found.group(1)))

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
