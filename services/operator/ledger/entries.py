"""The ledger by hour, and what to do about it. The arithmetic is in SQL (services/warehouse/ddl/0005_ledger.sql)."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic import BaseModel, Field, computed_field

from services.operator.findings import Finding, State
from services.operator.readers.clickhouse import ClickhouseReader

PAGE: Final = "docs/runbook/is-anything-lost.md"
COUNTS: Final = (
    "accepted", "in_topic", "in_clickhouse", "used", "lost_in_topic", "lost_in_clickhouse", "differs", "unaccounted",
    "waiting", "duplicates", "unreadable",
)  # fmt: skip
_LEDGER: Final = (
    "SELECT formatDateTime(hour, '%Y-%m-%d %H:00') AS began, `partition`, "
    + ", ".join(f"toInt64({name}) AS n_{name}" for name in COUNTS)
    + ", hour < toStartOfHour(now('UTC')) AS closed FROM animusic.ledger "
    "WHERE hour > now('UTC') - toIntervalHour({hours:UInt32}) ORDER BY ALL"
)
_AGAIN: Final = (
    "SELECT DISTINCT event_id FROM animusic.feedback WHERE received_ms > toUnixTimestamp64Milli(now64(3)) "
    "- {hours:UInt32} * 3600000 GROUP BY user_id, event_id HAVING count() > 1 LIMIT 10000"
)
_DOUBLED: Final = (
    "SELECT count() - uniqExact(user_id, event_id) AS doubled FROM animusic.feedback_clean "
    "WHERE event_id IN ({ids:Array(UUID)})"
)
_COUNTED: Final = (
    "SELECT (toUnixTimestamp64Milli(now64(3)) - max(said_ms)) / 1000 AS seconds, count() AS said "
    "FROM animusic.ledger_folded"
)
_MISSING: Final = (
    "SELECT DISTINCT `partition`, toString(first) || ' to ' || toString(upto - 1) AS place, missing, missing_id "
    "FROM animusic.ledger_checks WHERE missing > 0 OR differs ORDER BY `partition`, first LIMIT 20"
)
_FRESHNESS: Final = "SELECT * FROM animusic.freshness ORDER BY hour DESC LIMIT 1"
STALE_SECONDS: Final = 120.0
# The exit code of a command that had nothing to compare.
NOTHING: Final = 3


class Entry(BaseModel):
    """One hour, of one partition or summed over all (None). The counts are those of the view `ledger`."""

    hour: str
    partition: int | None
    closed: bool
    accepted: int
    in_topic: int
    in_clickhouse: int
    used: int
    lost_in_topic: int
    lost_in_clickhouse: int
    differs: int
    unaccounted: int
    waiting: int
    duplicates: int
    unreadable: int

    @property
    def lost(self) -> int:
        """Ids that were acknowledged or read and that are gone, and ranges that hold other ids than they should."""
        return self.lost_in_topic + self.lost_in_clickhouse + self.differs

    @computed_field  # type: ignore[prop-decorator]
    @property
    def loss_ppm(self) -> float:
        """Lost of a million."""
        return 1e6 * self.lost / max(self.accepted, self.in_topic, self.in_clickhouse, 1)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def duplicates_ppm(self) -> float:
        """Appended again, of a million, before the fold."""
        return 1e6 * self.duplicates / max(self.in_clickhouse, 1)


class Ledger(BaseModel):
    """The ledger of some hours.

    Attributes:
        doubled: ids that the analysts' view of events shows more than once: after the fold; must be 0.
        counted_seconds: since the topic was last counted; None when it never was.
        missing: where something is lost: partition, offsets, how many, the id where it is one.
        freshness: the newest hour of the view `freshness`; empty without one.
    """

    entries: list[Entry] = Field(serialization_alias="lines")
    doubled: int = 0
    counted_seconds: float | None = None
    missing: list[dict[str, Any]] = []
    freshness: dict[str, Any] = {}

    def hours(self) -> list[Entry]:
        """The entries summed over partitions."""
        hours = sorted({entry.hour for entry in self.entries})
        return [_summed(hour, [entry for entry in self.entries if entry.hour == hour]) for hour in hours]

    def total(self) -> Entry:
        """Everything summed."""
        return _summed("all", self.entries)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def empty(self) -> bool:
        """Whether there was no event to count: that says nothing of what would be lost."""
        total = self.total()
        return not (total.accepted or total.in_topic or total.in_clickhouse or total.used)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether there were events, and nothing is lost."""
        return self.code == 0

    @property
    def code(self) -> int:
        """0: nothing is lost. 1: something is lost, doubled or not counted. 3: there was no event to count."""
        if any(finding.state != "ok" for finding in self.findings):
            return 1
        return NOTHING if self.empty else 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def findings(self) -> list[Finding]:
        """What is not 0, and what to do about it; those of state `ok` are harmless."""
        return [Finding(*found, page=PAGE) for found in self._found(self.total())]

    def _found(self, total: Entry) -> Iterator[tuple[str, State, str, str]]:
        places = (f"{one['partition']}: offsets {one['place']} {one['missing_id']}".strip() for one in self.missing[:5])
        where = "; ".join(places)
        if total.lost_in_clickhouse:
            detail = f"{total.lost_in_clickhouse} ids are in the topic and not in ClickHouse ({where})"
            yield "lost in ClickHouse", "fail", detail, "`animusic replay warehouse` rebuilds it"
        if total.lost_in_topic:
            detail = f"{total.lost_in_topic} ids were acknowledged and are nowhere ({where})"
            remedy = "stop what deletes or truncates the log; restore it from a backup (`animusic restore`)"
            yield "lost in the topic", "fail", detail, remedy
        if total.differs:
            detail = f"{total.differs} ranges hold other ids than were acknowledged ({where})"
            yield "other ids", "fail", detail, "`animusic verify` names users and events"
        if self.doubled:
            detail = f"{self.doubled} ids count more than once after the fold"
            yield "doubled", "fail", detail, "`animusic verify`; then `animusic replay warehouse`"
        # A mark may lag for a while; what a whole closed hour has not seen is a finding.
        if (waiting := sum(entry.waiting for entry in self.entries if entry.closed)) > 0:
            detail = f"the fold has not used {waiting} events of hours that are over"
            yield "waiting", "warn", detail, "`animusic status` says what profiles waits for"
        if self.counted_seconds is None or self.counted_seconds > STALE_SECONDS:
            ago = "never" if self.counted_seconds is None else f"{self.counted_seconds:.0f} s ago"
            remedy = "start the probe: `animusic serve probe` (ANIMUSIC_PROBE__ENABLED under `animusic run`)"
            yield "not counted", "warn", f"the topic was last counted {ago}", remedy
        if total.unaccounted:
            detail = f"{total.unaccounted} events in no gateway's ledger entries: unknown, not lost"
            remedy = "nothing to do: a gateway was killed, or records were redriven or restored"
            yield "unaccounted", "ok", detail, remedy
        if total.duplicates:
            detail = f"{total.duplicates} ids were appended again: retries of clients"
            yield "duplicates", "ok", detail, "nothing to do: the fold uses each id once"
        if total.unreadable:
            yield "unreadable", "ok", f"{total.unreadable} records are no events", "`animusic dlq list` shows them"


async def read_ledger(warehouse: ClickhouseReader, hours: int) -> Ledger:
    """Ask the warehouse. Raises httpx.HTTPError or ClickhouseRefused."""
    entries = [_entry(row) for row in await warehouse.rows(_LEDGER, hours=hours)]
    again = [row["event_id"] for row in await warehouse.rows(_AGAIN, hours=hours)]
    doubled = int((await warehouse.rows(_DOUBLED, ids=again))[0]["doubled"]) if again else 0
    (counted,) = await warehouse.rows(_COUNTED)
    fresh = await warehouse.rows(_FRESHNESS)
    return Ledger(
        entries=entries,
        doubled=doubled,
        counted_seconds=float(counted["seconds"]) if int(counted["said"]) else None,
        missing=await warehouse.rows(_MISSING) if any(entry.lost for entry in entries) else [],
        freshness=fresh[0] if fresh else {},
    )


def _entry(row: dict[str, Any]) -> Entry:
    counts = {name: int(row[f"n_{name}"]) for name in COUNTS}
    return Entry(hour=row["began"], partition=int(row["partition"]), closed=bool(row["closed"]), **counts)


def _summed(hour: str, entries: Sequence[Entry]) -> Entry:
    sums = {name: sum(getattr(entry, name) for entry in entries) for name in COUNTS}
    return Entry(hour=hour, partition=None, closed=all(entry.closed for entry in entries), **sums)
