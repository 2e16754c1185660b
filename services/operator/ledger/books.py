"""What the ledger says, and what to do about it. The arithmetic is in SQL (services/warehouse/ddl/0005_ledger.sql)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from services.operator.findings import Finding
from services.operator.ledger.asking import Sql

PAGE: Final = "docs/runbook/is-anything-lost.md"
# A mark may lag for a while; what a whole closed hour has not seen is a finding.
_SUMS: Final = (
    "accepted", "in_topic", "in_clickhouse", "used", "lost_in_topic", "lost_in_clickhouse", "differs", "unaccounted",
    "waiting", "duplicates", "unreadable",
)  # fmt: skip
_LEDGER: Final = (
    "SELECT formatDateTime(hour, '%Y-%m-%d %H:00') AS began, `partition`, "
    + ", ".join(f"toInt64({name}) AS n_{name}" for name in _SUMS)
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
# The exit code of a command that had nothing to look at.
NOTHING: Final = 3


@dataclass(frozen=True)
class Line:
    """One hour, of one partition or summed over all. Numbers are those of the view `ledger`."""

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
        """Ids that somebody acknowledged or read and that are gone, and ranges that hold other ids than they should."""
        return self.lost_in_topic + self.lost_in_clickhouse + self.differs

    @property
    def loss_ppm(self) -> float:
        """Lost of a million."""
        return 1e6 * self.lost / max(self.accepted, self.in_topic, self.in_clickhouse, 1)

    @property
    def duplicates_ppm(self) -> float:
        """Appended again, of a million, before the fold."""
        return 1e6 * self.duplicates / max(self.in_clickhouse, 1)


@dataclass(frozen=True)
class Books:
    """The ledger of some hours.

    Attributes:
        doubled: ids that the analysts' view of events shows more than once: after the fold; must be 0.
        counted_seconds: since somebody last counted the topic; None when nobody ever did.
        missing: where something is lost: partition, offsets, how many, the id where it is one.
        freshness: the newest hour of the view `freshness`; empty without one.
    """

    lines: list[Line]
    doubled: int
    counted_seconds: float | None
    missing: list[dict[str, Any]] = field(default_factory=list)
    freshness: dict[str, Any] = field(default_factory=dict)

    def hours(self) -> list[Line]:
        """The lines summed over partitions."""
        return [_summed(hour, [one for one in self.lines if one.hour == hour]) for hour in _hours(self.lines)]

    def total(self) -> Line:
        """Everything summed."""
        return _summed("all", self.lines)

    @property
    def empty(self) -> bool:
        """Whether there was no event to count: that says nothing of what would be lost."""
        total = self.total()
        return not (total.accepted or total.in_topic or total.in_clickhouse or total.used)

    @property
    def code(self) -> int:
        """0: nothing is lost. 1: something is lost, doubled or stands still. 3: there was no event to count."""
        if any(finding.state != "ok" for finding in self.findings()):
            return 1
        return NOTHING if self.empty else 0

    def findings(self) -> list[Finding]:
        """What is not 0, and what to do about it; those of state `ok` are harmless."""
        total = self.total()
        return [*_losses(total, self.missing), *_standstills(self), *_harmless(total)]

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        lines = [{**asdict(one), "loss_ppm": one.loss_ppm, "duplicates_ppm": one.duplicates_ppm} for one in self.lines]
        rest = {"doubled": self.doubled, "counted_seconds": self.counted_seconds, "missing": self.missing}
        found = [asdict(finding) for finding in self.findings()]
        return {
            "ok": self.code == 0,
            "empty": self.empty,
            "lines": lines,
            **rest,
            "freshness": self.freshness,
            "findings": found,
        }


async def opened(sql: Sql, hours: int) -> Books:
    """Ask the warehouse. Raises httpx.HTTPError or ValueError."""
    lines = [_line(row) for row in await sql.rows(_LEDGER, hours=hours)]
    again = [row["event_id"] for row in await sql.rows(_AGAIN, hours=hours)]
    doubled = 0
    if again:
        ids = "[" + ",".join(f"'{each}'" for each in again) + "]"
        doubled = int((await sql.rows(_DOUBLED, ids=ids))[0]["doubled"])
    (counted,) = await sql.rows(_COUNTED)
    missing = await sql.rows(_MISSING) if any(line.lost for line in lines) else []
    fresh = await sql.rows(_FRESHNESS)
    seconds = float(counted["seconds"]) if int(counted["said"]) else None
    return Books(lines, doubled, seconds, missing, fresh[0] if fresh else {})


def _line(row: dict[str, Any]) -> Line:
    numbers = {name: int(row[f"n_{name}"]) for name in _SUMS}
    return Line(hour=row["began"], partition=int(row["partition"]), closed=bool(row["closed"]), **numbers)


def _hours(lines: Sequence[Line]) -> list[str]:
    return sorted({line.hour for line in lines})


def _summed(hour: str, lines: Sequence[Line]) -> Line:
    sums = {name: sum(getattr(line, name) for line in lines) for name in _SUMS}
    return Line(hour=hour, partition=None, closed=all(line.closed for line in lines), **sums)


def _losses(total: Line, missing: Sequence[dict[str, Any]]) -> list[Finding]:
    where = "; ".join(f"{one['partition']}: offsets {one['place']} {one['missing_id']}".strip() for one in missing[:5])
    found = []
    if total.lost_in_clickhouse:
        said = f"{total.lost_in_clickhouse} ids are in the topic and not in ClickHouse ({where})"
        found.append(Finding("lost in ClickHouse", "fail", said, "`animusic replay warehouse` rebuilds it", PAGE))
    if total.lost_in_topic:
        said = f"{total.lost_in_topic} ids were acknowledged and are nowhere ({where})"
        remedy = "stop what deletes or truncates the log; restore it from a backup (`animusic restore`)"
        found.append(Finding("lost in the topic", "fail", said, remedy, PAGE))
    if total.differs:
        said = f"{total.differs} ranges hold other ids than were acknowledged ({where})"
        found.append(Finding("other ids", "fail", said, "`animusic verify` names users and events", PAGE))
    return found


def _standstills(books: Books) -> list[Finding]:
    found = []
    if books.doubled:
        said = f"{books.doubled} ids count more than once after the fold"
        found.append(Finding("doubled", "fail", said, "`animusic verify`; then `animusic replay warehouse`", PAGE))
    waiting = sum(line.waiting for line in books.lines if line.closed)
    if waiting > 0:
        said = f"the fold has not used {waiting} events of hours that are over"
        found.append(Finding("waiting", "warn", said, "`animusic status` says what profiles waits for", PAGE))
    if books.counted_seconds is None or books.counted_seconds > STALE_SECONDS:
        ago = "never" if books.counted_seconds is None else f"{books.counted_seconds:.0f} s ago"
        remedy = "start the probe: `animusic serve probe` (ANIMUSIC_PROBE__ENABLED under `animusic run`)"
        found.append(Finding("not counted", "warn", f"the topic was last counted {ago}", remedy, PAGE))
    return found


def _harmless(total: Line) -> list[Finding]:
    found = []
    if total.unaccounted:
        said = f"{total.unaccounted} events in no gateway's account: unknown, not lost"
        remedy = "nothing to do: a gateway was killed, or records were redriven or restored"
        found.append(Finding("unaccounted", "ok", said, remedy, PAGE))
    if total.duplicates:
        said = f"{total.duplicates} ids were appended again: retries of clients"
        found.append(Finding("duplicates", "ok", said, "nothing to do: the fold uses each id once", PAGE))
    if total.unreadable:
        said = f"{total.unreadable} records are no events"
        found.append(Finding("unreadable", "ok", said, "`animusic dlq list` shows them", PAGE))
    return found
