"""Every metric of the probe, in one place."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from contracts.ledger import Round
from services.operator.ledger.entries import COUNTS, Ledger

_SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
LEGS: Final = ("accepted", "profile", "playlist", "warehouse")


class ProbeMetrics:
    """Names begin with `animusic_ledger_` and `animusic_probe_`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # The columns of the view `ledger`, summed over this hour and the one before.
        self._events = Gauge("animusic_ledger_events", "ids, this hour and the last", ["kind"], registry=registry)
        self._ppm = Gauge("animusic_ledger_ppm", "of a million: loss, duplicates", ["kind"], registry=registry)
        # Must be 0: ids that count more than once after the fold.
        self._doubled = Gauge("animusic_ledger_doubled", "ids doubled after the fold", registry=registry)
        self.counted = Counter("animusic_ledger_counted", "records read in the topic", registry=registry)
        # Like -> 202, then 202 -> profile, playlist, row in ClickHouse.
        self._legs = Histogram(
            "animusic_probe_leg", "seconds of a leg", ["leg"], unit="seconds", buckets=_SECONDS, registry=registry
        )
        self._rounds = Counter("animusic_probe_rounds", "rounds by outcome", ["outcome"], registry=registry)
        self.failures = Counter("animusic_probe_failures", "turns that failed, by task", ["task"], registry=registry)

    def show(self, ledger: Ledger) -> None:
        """The ledger as gauges."""
        total = ledger.total()
        for kind in COUNTS:
            self._events.labels(kind).set(getattr(total, kind))
        self._ppm.labels("loss").set(total.loss_ppm)
        self._ppm.labels("duplicates").set(total.duplicates_ppm)
        self._doubled.set(ledger.doubled)

    def heard(self, found: Round) -> None:
        """A round of the synthetic listener."""
        self._rounds.labels("ok" if found.trouble is None else "trouble").inc()
        for leg in LEGS:
            if (took := getattr(found, f"{leg}_ms")) is not None:
                self._legs.labels(leg).observe(took / 1_000)
