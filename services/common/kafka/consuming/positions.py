"""The position of each followed partition. Pure: it decides, the flow seeks."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, NamedTuple

from aiokafka import TopicPartition

from services.common.kafka import Leader, Leaders
from services.common.kafka.consuming.model import Assignment, DecodedRecord, Gap, Slice, T

Verdict = Literal["take", "ask again", "went back"]
_COMMITTED: Final = re.compile(r"read to (\d+) under epoch (\d+)")
STALLED_SECONDS: Final = 45.0


@dataclass
class Position(Generic[T]):
    """One partition.

    Attributes:
        after: the store's mark as of the last flush or assignment; 0 where it had none.
        next: offset that should come next.
        jumped: a hole in the offsets was seen right here; it counts when it is seen again.
        held: decoded records that are not flushed yet.
        moved: records were taken since the last flush (all of them may have gone to the dead letters).
        gaps: what the log lost here; goes with the next flush.
        origin: where reading began when it was placed here.
    """

    assignment: Assignment
    after: int
    next: int
    jumped: bool = False
    held: list[DecodedRecord[T]] = field(default_factory=list)
    moved: bool = False
    gaps: tuple[Gap, ...] = ()
    origin: int = field(init=False)

    def __post_init__(self) -> None:
        self.origin = self.next

    @property
    def done(self) -> int:
        """Offset before which nothing is left to do: neither held, nor in a flush under way, nor to be fetched."""
        return max(self.after, self.origin)

    def judge(self, offset: int) -> Verdict:
        """What to do with fetched records that begin at `offset`.

        A hole is either real (compaction, expiry) or the tail of a fetch from before a seek. The latter would lose
        what lies in between, so a hole is fetched again and accepted the second time.
        """
        if offset == self.next or (offset > self.next and self.jumped):
            return "take"
        return "ask again" if offset > self.next else "went back"

    def take(self, items: list[DecodedRecord[T]], upto: int) -> None:
        """Hold decoded records; the partition goes on at `upto`."""
        self.held.extend(items)
        self.next = upto
        self.jumped = False
        self.moved = True

    def cut(self) -> Slice[T]:
        """Everything held, as one slice; nothing is held afterwards."""
        cut = Slice(self.assignment, self.after, self.next, self.held, self.gaps)
        self.held, self.gaps, self.moved = [], (), False
        return cut


def place(assignment: Assignment, mark: int | None, start: int, end: int) -> tuple[Position[T], str | None]:
    """Where to go on in a partition whose log runs from `start` to before `end`, and what is wrong with it, if so."""
    if mark is None:
        return Position(assignment, 0, start), None
    if mark < start:
        lost = f"{start - mark} records expired before they had their effect: offsets {mark} to {start - 1} are gone"
        return Position(assignment, mark, start, gaps=(Gap(mark, start),)), lost
    if mark > end:
        shorter = f"the log ends at {end}, before the store's mark {mark}: it lost records; reading it from its start"
        return Position(assignment, 0, start, gaps=(Gap(end, mark),)), shorter
    return Position(assignment, mark, mark), None


def halves(slices: list[Slice[T]]) -> tuple[list[Slice[T]], list[Slice[T]]]:
    """The same work in two parts that may be flushed one after the other; at least two records must be in it."""
    if len(slices) > 1:
        middle = len(slices) // 2
        return slices[:middle], slices[middle:]
    (whole,) = slices
    middle = len(whole.items) // 2
    seam = whole.items[middle - 1].record.offset + 1
    head = Slice(whole.assignment, whole.after, seam, whole.items[:middle], whole.gaps)
    return [head], [Slice(whole.assignment, seam, whole.upto, whole.items[middle:])]


class _Epoch(NamedTuple):
    """A leader's epoch, and the offset before which all was read when the log named it."""

    number: int
    read: int


class LeaderEpochs:
    """The leader epoch under which each partition was read: it shows whether the log was truncated and grew again.

    Kept is the epoch that the log named *before* the position was looked at, so records behind that position may be of
    a later epoch, never the other way round. When the log names another epoch, whatever was read from the end of the
    kept one on may have been replaced, and is read again; most often nothing was, and a few seconds come twice.

    It is committed with the offsets. They do not decide where a consumer goes on - the store's mark does - but one that
    was away while the log was cut learns from them that it must go further back.
    """

    def __init__(self) -> None:
        self._kept: dict[TopicPartition, _Epoch] = {}

    def keep(self, tp: TopicPartition, leader: Leader | None, read: int) -> None:
        """All before `read` was read under this leader or one before it."""
        if leader is not None:
            self._kept[tp] = _Epoch(leader.epoch, read)

    def to_commit(self, tp: TopicPartition) -> str:
        """What is kept of a partition, as metadata of its committed offset; "" for nothing."""
        kept = self._kept.get(tp)
        return "" if kept is None else f"read to {kept.read} under epoch {kept.number}"

    def restore(self, tp: TopicPartition, committed: str) -> None:
        """Keep again what was committed."""
        found = _COMMITTED.fullmatch(committed)
        if found is not None:
            self._kept[tp] = _Epoch(number=int(found.group(2)), read=int(found.group(1)))

    def clear(self) -> None:
        """Other partitions are followed from now on."""
        self._kept.clear()

    def read(self, tp: TopicPartition) -> int:
        """How far a partition was read when its epoch was kept; 0 where none is."""
        return self._kept[tp].read if tp in self._kept else 0

    def ended(self, leaders: Leaders) -> dict[TopicPartition, Leader]:
        """The kept epochs that have ended, with the broker that knows where."""
        return {
            tp: Leader(leader.node, self._kept[tp].number)
            for tp, leader in leaders.items()
            if tp in self._kept and leader.epoch > self._kept[tp].number
        }


class StallDetector:
    """Finds a Kafka client that returns no records though the log has more: it waits for an answer that never comes.

    aiokafka did so after a broker's restart (`services.common.process.loop` corrects the cause that was found). Only a
    new process helps then, and the supervisor starts one. `seconds`: longest time without progress.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        # The next offset of a partition, and since when it is that.
        self._seen: dict[TopicPartition, tuple[int, float]] = {}

    def check(
        self, positions: Mapping[TopicPartition, Position[Any]], ends: Mapping[TopicPartition, int], *, busy: bool
    ) -> str | None:
        """Which partition has stalled, in a sentence; None for none.

        `ends`: the log's end offsets from another client. `busy`: records are being taken or flushed now.
        """
        now = self._clock()
        for tp, position in positions.items():
            # Where nothing was read since the start there may be nothing to read: the tail of a compacted log can go.
            waits = ends.get(tp, 0) > position.next > position.origin and not busy
            at, since = self._seen.get(tp, (-1, now))
            if not waits or at != position.next:
                self._seen[tp] = (position.next, now)
            elif now - since > self._seconds:
                more = ends[tp] - position.next
                return (
                    f"the log has {more} records more in {tp.topic}/{tp.partition}, and for {now - since:.0f} s its "
                    "client has returned none"
                )
        return None
