"""What a consumer counts, and how far it is behind. One object of each a process, on the registry of its /metrics."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.common.kafka.consuming.positions import Position
from services.common.process.clock import now_ms

CounterName = Literal[
    # records taken off the log, dead letters included
    "animusic_consumer_records",
    # flushes that the store took
    "animusic_consumer_flushes",
    # slices that the store refused since its mark is lower than theirs (emptied or restored): each is a rewind
    "animusic_consumer_refusals",
    # records that went to the dead letters
    "animusic_consumer_dead_letters",
    # times that records were gone from the log before they had had their effect, or the log had become shorter
    "animusic_consumer_gaps",
    # times that a topic was found deleted and made again
    "animusic_consumer_recreated_topics",
    # times that the store did not answer and the same flush was tried again
    "animusic_consumer_outage_retries",
]
GaugeName = Literal[
    # records between what is flushed and the end of the log, of this process' partitions, as of the last flush
    "animusic_consumer_behind",
    # partitions that this process follows
    "animusic_consumer_partitions",
    # 1 while the store does not answer
    "animusic_consumer_paused",
]
HistogramName = Literal[
    # how long a flush took in the store
    "animusic_consumer_flush_seconds",
]
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ConsumerMetrics:
    """The metrics of one consumer; every series has the label `step`, the name of the sink."""

    def __init__(self, registry: CollectorRegistry, step: str) -> None:
        help_text = "see services/common/kafka/consuming/metrics.py"
        self._counters = {
            name: Counter(name, help_text, ["step"], registry=registry).labels(step) for name in get_args(CounterName)
        }
        self._gauges = {
            name: Gauge(name, help_text, ["step"], registry=registry).labels(step) for name in get_args(GaugeName)
        }
        self._histograms = {
            name: Histogram(name, help_text, ["step"], registry=registry, buckets=_BUCKETS).labels(step)
            for name in get_args(HistogramName)
        }

    def count(self, name: CounterName, by: int = 1) -> None:
        """Add to a counter."""
        self._counters[name].inc(by)

    def value(self, name: CounterName) -> float:
        """The value of a counter, for tests and reports."""
        return float(self._counters[name]._value.get())

    def gauge(self, name: GaugeName, value: float) -> None:
        """Set a gauge."""
        self._gauges[name].set(value)

    def observe(self, name: HistogramName, value: float) -> None:
        """Record a duration, in seconds."""
        self._histograms[name].observe(value)


class Lag(NamedTuple):
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
    """Knows the end offsets from the last fetch, or from `measure`, which also works while nothing is fetched.

    Shows `animusic_consumer_lag` and `animusic_consumer_oldest_seconds` by step, topic and partition. `consumer()` is
    aiokafka's, or None.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        step: str,
        consumer: Callable[[], Any],
        positions: Mapping[TopicPartition, Position[Any]],
    ) -> None:
        self._step = step
        self._consumer = consumer
        self._positions = positions
        self._ends: dict[TopicPartition, int] = {}
        self._behind_since: dict[TopicPartition, float] = {}
        registry.register(self)

    async def measure(self) -> None:
        """Ask the log for its ends. May raise aiokafka's KafkaError."""
        if self._positions:
            self._ends = dict(await self._consumer().end_offsets(list(self._positions)))
            self.lags()

    def lags(self) -> list[Lag]:
        """Every followed partition as of now."""
        consumer = self._consumer()
        assigned = consumer.assignment() if consumer is not None else ()
        found = []
        for tp, position in sorted(self._positions.items()):
            fetched = consumer.highwater(tp) if tp in assigned else None
            lag = max(0, max(fetched or 0, self._ends.get(tp, 0)) - position.done)
            found.append(Lag(tp.topic, tp.partition, lag, self._oldest(tp, position, lag)))
        return found

    def summary(self) -> dict[str, float]:
        """For the body of /readyz: how many partitions, records behind, and the age of the oldest in seconds."""
        found = self.lags()
        oldest = max((one.oldest_seconds for one in found), default=0.0)
        return {"partitions": len(found), "lag": sum(one.lag for one in found), "oldest_seconds": round(oldest, 3)}

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus' client at each scrape."""
        labels = ["step", "topic", "partition"]
        lag = GaugeMetricFamily("animusic_consumer_lag", "records without effect in the store yet", labels=labels)
        oldest = GaugeMetricFamily("animusic_consumer_oldest_seconds", "age of the oldest of them", labels=labels)
        for one in self.lags():
            lag.add_metric([self._step, one.topic, str(one.partition)], one.lag)
            oldest.add_metric([self._step, one.topic, str(one.partition)], one.oldest_seconds)
        yield from (lag, oldest)

    def describe(self) -> Iterator[Metric]:
        """Nothing before there is a consumer."""
        return iter(())

    def _oldest(self, tp: TopicPartition, position: Position[Any], lag: int) -> float:
        if not lag:
            self._behind_since.pop(tp, None)
            return 0.0
        since = self._behind_since.setdefault(tp, time.monotonic())
        if position.held:
            return max(0.0, (now_ms() - int(position.held[0].record.timestamp)) / 1000)
        return time.monotonic() - since
