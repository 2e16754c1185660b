"""How far a consumer is behind, partition by partition, whenever somebody asks: at /metrics and at /readyz."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.common.clock import now_ms
from services.common.consuming.positions import Position

Positions = Callable[[], Mapping[TopicPartition, Position[Any]]]


@dataclass(frozen=True)
class Standing:
    """One followed partition.

    Attributes:
        lag: records that have had no effect in the store yet, held ones included.
        oldest_seconds: since the oldest of them was written, where it was fetched; else since the partition was last
            seen without lag, which is never less than that of a record that came later.
    """

    topic: str
    partition: int
    lag: int
    oldest_seconds: float


class LagMeter(Collector):
    """Knows the ends as the log told them last: by a fetch, or by `measure`, which also works while nothing is fetched.

    Shows `animusic_consumer_lag` and `animusic_consumer_oldest_seconds` by step, topic and partition.
    """

    def __init__(
        self, registry: CollectorRegistry, step: str, consumer: Callable[[], Any], positions: Positions
    ) -> None:
        self._step = step
        self._consumer = consumer
        self._positions = positions
        self._ends: dict[TopicPartition, int] = {}
        self._behind_since: dict[TopicPartition, float] = {}
        registry.register(self)

    async def measure(self) -> None:
        """Ask the log for its ends. May raise aiokafka's KafkaError."""
        followed = list(self._positions())
        if followed:
            self._ends = dict(await self._consumer().end_offsets(followed))
            self.standings()

    def standings(self) -> list[Standing]:
        """Every followed partition as of now."""
        consumer = self._consumer()
        assigned = consumer.assignment() if consumer is not None else ()
        found = []
        for tp, position in sorted(self._positions().items()):
            fetched = consumer.highwater(tp) if tp in assigned else None
            end = max(fetched or 0, self._ends.get(tp, 0))
            lag = max(0, end - position.done)
            found.append(Standing(tp.topic, tp.partition, lag, self._oldest(tp, position, lag)))
        return found

    def summary(self) -> dict[str, float]:
        """For the body of /readyz: how many partitions, records behind, and the age of the oldest in seconds."""
        found = self.standings()
        lag, oldest = sum(one.lag for one in found), max((one.oldest_seconds for one in found), default=0.0)
        return {"partitions": len(found), "lag": lag, "oldest_seconds": round(oldest, 3)}

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus' client at each scrape."""
        labels = ["step", "topic", "partition"]
        lag = GaugeMetricFamily("animusic_consumer_lag", "records without effect in the store yet", labels=labels)
        oldest = GaugeMetricFamily("animusic_consumer_oldest_seconds", "age of the oldest of them", labels=labels)
        for standing in self.standings():
            place = [self._step, standing.topic, str(standing.partition)]
            lag.add_metric(place, standing.lag)
            oldest.add_metric(place, standing.oldest_seconds)
        yield lag
        yield oldest

    def describe(self) -> Iterator[Metric]:
        """Nothing to look at before there is a consumer."""
        return iter(())

    def _oldest(self, tp: TopicPartition, position: Position[Any], lag: int) -> float:
        if not lag:
            self._behind_since.pop(tp, None)
            return 0.0
        since = self._behind_since.setdefault(tp, time.monotonic())
        if position.held:
            written: int = position.held[0].record.timestamp
            return max(0.0, (now_ms() - written) / 1000)
        return time.monotonic() - since
