"""What a consumer counts. One object a process, on the registry that its /metrics shows."""

from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CounterName = Literal[
    # records taken off the log, dead letters included
    "animusic_consumer_records",
    # flushes that the store took
    "animusic_consumer_flushes",
    # slices that the store refused since its mark is lower than where we were (wiped or restored): each is a rewind
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
        help_text = "see services/common/consuming/metrics.py"
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
        """What a counter stands at, for tests and reports."""
        return float(self._counters[name]._value.get())

    def gauge(self, name: GaugeName, value: float) -> None:
        """Set a gauge."""
        self._gauges[name].set(value)

    def observe(self, name: HistogramName, value: float) -> None:
        """Record a duration, in seconds."""
        self._histograms[name].observe(value)
