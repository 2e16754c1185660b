"""Folds the log's feedback records: registers per user, and sums of rows."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import md5
from typing import Any, Final

from pydantic import ValidationError

from contracts.events import FeedbackEvent, read_event
from contracts.fold import Folded, served_writes, writes
from services.operator.readers.log import Spans, records
from services.operator.verify.model import Comparison

# Rows are summed up in ranges of this many offsets; where two sums differ, the range is read row by row.
RANGE: Final = 20_000
_MODULUS: Final = 1 << 128


@dataclass
class Range:
    """Records of so many offsets, as they must be among the rows: their number, and an order-free sum."""

    records: int = 0
    digest: int = 0

    def add(self, event: FeedbackEvent, offset: int, hashed_user: int) -> None:
        """Take one in; `rows.RANGES` has the same arithmetic."""
        self.records += 1
        digest = (event.event_id.int + hashed_user) * (offset + 1) + event.received_at
        self.digest = (self.digest + digest) % _MODULUS


@dataclass
class Folds:
    """User -> fold, for each store; they differ only by records that one store alone refused."""

    redis: dict[str, Folded] = field(default_factory=dict)
    clickhouse: dict[str, Folded] = field(default_factory=dict)

    def add(self, event: FeedbackEvent, refused: frozenset[str]) -> None:
        """Fold one event in."""
        if "profiles" not in refused:
            user = self.redis.setdefault(event.user_id, Folded())
            for write in served_writes(event):
                user.apply(write)
        if "warehouse" not in refused:
            user = self.clickhouse.setdefault(event.user_id, Folded())
            for write in writes(event):
                user.apply(write)


class PartitionFold:
    """One partition's records, folded.

    Attributes:
        folds: of the sampled users.
        ranges: first offset // RANGE -> records.
        moved: sampled users who live in another partition now (the topic had fewer once).
    """

    def __init__(self, run: Comparison, lives_here: Callable[[str], bool]) -> None:
        self._run = run
        self._lives_here = lives_here
        self.folds = Folds()
        self.ranges: dict[int, Range] = {}
        self.moved: set[str] = set()

    def add(self, record: Any) -> None:
        """Take one record in."""
        event, refused = read(record), self._run.refused_by(record)
        self._run.report.dead_letters += bool(refused) or event is None
        if event is None:
            return
        if "warehouse" not in refused:
            part = self.ranges.setdefault(record.offset // RANGE, Range())
            part.add(event, record.offset, half_md5(event.user_id))
        if self._run.sample.holds(event.user_id):
            if not self._lives_here(event.user_id):
                self.moved.add(event.user_id)
            self.folds.add(event, refused)


@lru_cache(maxsize=200_000)
def half_md5(text: str) -> int:
    """ClickHouse's halfMD5."""
    return int.from_bytes(md5(text.encode(), usedforsecurity=False).digest()[:8], "big")


def read(record: Any) -> FeedbackEvent | None:
    """The event; None for what cannot be read."""
    try:
        return None if record.value is None else read_event(record.value)
    except ValidationError:
        return None


async def folds_of(
    run: Comparison,
    spans: Spans,
    users: Collection[str],
    counts: Callable[[str, Any], bool] = lambda user, record: True,
) -> Folds:
    """What these users' records in these spans come to. `counts` may leave records out."""
    folds = Folds()
    async for record in records(run.kafka, spans):
        event = read(record)
        if event is not None and event.user_id in users and counts(event.user_id, record):
            folds.add(event, run.refused_by(record))
    return folds
