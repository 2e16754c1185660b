"""Every metric of the gateway. Each app has its own registry, so that two apps in one process do not mix."""

from collections import deque
from functools import partial
from statistics import median
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

RECENT: Final = 500
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """The metrics. Names begin with `animusic_gateway_`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        # Every answer, by route template, method and status; seconds from the first byte to the last.
        self.requests = self._histogram("requests", "seconds to answer", "route", "method", "status", unit="seconds")
        # Posted events by outcome: accepted, or the code of the rejection.
        self.events = self._counter("events", "events posted", "outcome")
        # Warnings about accepted events by their code: a dropped value, a clock, a slot token.
        self.warnings = self._counter("event_warnings", "warnings about accepted events", "code")
        # Accepted events by attribution: slot, claimed, none, or refused_<reason>.
        self.attributions = self._counter("attributions", "accepted events by attribution", "attribution")
        # Group commits: seconds until the broker acknowledged, and posts and bytes that shared one.
        self.commits = self._histogram("log_commits", "seconds until acknowledged", "topic", unit="seconds")
        self.records = self._counter("log_records", "records acknowledged by the broker", "topic")
        # Writes that were not acknowledged: busy (queue full), timeout, or the error's class name.
        self.log_failures = self._counter("log_failures", "writes not acknowledged", "topic", "reason")
        self.log_waiting = self._gauge("log_waiting_bytes", "bytes that wait for a group commit", "topic")
        # 1 while the log answers and its last append was acknowledged.
        self.log_ready = self._gauge("log_ready", "1 while the log accepts events")
        # Calls of the recommender: its path's template, status or `timeout`/`unreachable`.
        self.recommender = self._histogram("recommender", "seconds of a call", "path", "outcome", unit="seconds")
        # One arm's turn in a playlist, as the recommender timed it; and the median of its last RECENT turns.
        self._arm = self._histogram("arm", "one arm's turn in a playlist", "arm", unit="seconds")
        self._arm_p50 = self._gauge("arm_p50_seconds", "median of one arm's last turns", "arm")
        self._recent: dict[str, deque[float]] = {}
        # Open live streams, and messages that slow subscribers lost.
        self.subscribers = self._gauge("live_subscribers", "open live streams")
        self.live_dropped = self._counter("live_dropped", "live events that a slow subscriber lost")

    def arm_turn(self, arm: str, seconds: float) -> None:
        """Count an arm's turn."""
        self._arm.labels(arm).observe(seconds)
        recent = self._recent.get(arm)
        if recent is None:
            recent = self._recent[arm] = deque(maxlen=RECENT)
            # Computed when /metrics is read.
            self._arm_p50.labels(arm).set_function(partial(median, recent))
        recent.append(seconds)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"animusic_gateway_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"animusic_gateway_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str, unit: str) -> Histogram:
        full = f"animusic_gateway_{name}"
        return Histogram(full, text, labels, unit=unit, buckets=_SECONDS, registry=self.registry)
