"""A client of Kafka that brings nothing though there is something: it waits for an answer that never comes.

aiokafka was seen to do so after a broker's restart (`services.common.loop` mends the cause that was found). Only
another process helps then, and a supervisor begins one.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka import TopicPartition

from services.common.consuming.positions import Position

SECONDS: Final = 45.0


class Standstill:
    """Looks at positions now and then. `seconds`: a partition that stands still for longer has lost its client."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        # Where a partition stood, and since when.
        self._stood: dict[TopicPartition, tuple[int, float]] = {}

    def look(
        self, positions: Mapping[TopicPartition, Position[Any]], ends: Mapping[TopicPartition, int], *, busy: bool
    ) -> str | None:
        """What stands still, in a sentence; None while all is well.

        `ends`: the log's ends as another client was told them. `busy`: records are being taken or flushed just now.
        """
        now = self._clock()
        for tp, position in positions.items():
            # Where nothing was read since the start there may be nothing to read: the tail of a compacted log can go.
            waits = ends.get(tp, 0) > position.next > position.origin and not busy
            at, since = self._stood.get(tp, (-1, now))
            if not waits or at != position.next:
                self._stood[tp] = (position.next, now)
            elif now - since > self._seconds:
                more = ends[tp] - position.next
                return (
                    f"the log has {more} records more in {tp.topic}/{tp.partition}, and for {now - since:.0f} s its "
                    "client has brought none"
                )
        return None
