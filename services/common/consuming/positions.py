"""Where each followed partition stands. Pure: it decides, the flow seeks."""

from dataclasses import dataclass, field
from typing import Generic, Literal

from services.common.consuming.model import Claim, Lost, Slice, T, Taken

Verdict = Literal["take", "ask again", "went back"]


@dataclass
class Position(Generic[T]):
    """One partition.

    Attributes:
        after: the store's mark as of the last flush or assignment; 0 where it had none.
        next: offset that should come next.
        jumped: a hole in the offsets was seen right here; it counts when it is seen again.
        held: decoded records that are not flushed yet.
        moved: records were taken since the last flush (all of them may have gone to the dead letters).
        lost: what the log lost here; goes with the next flush.
        origin: where it went on when it was placed here.
    """

    claim: Claim
    after: int
    next: int
    jumped: bool = False
    held: list[Taken[T]] = field(default_factory=list)
    moved: bool = False
    lost: tuple[Lost, ...] = ()
    origin: int = field(init=False)

    def __post_init__(self) -> None:
        self.origin = self.next

    @property
    def done(self) -> int:
        """Offset before which nothing is left to do: neither held, nor in a flush under way, nor to be fetched."""
        return max(self.after, self.origin)

    def judge(self, offset: int) -> Verdict:
        """What to do with fetched records that begin at `offset`.

        A hole is either honest (compaction, expiry) or the tail of a fetch from before a seek. The latter would lose
        what lies in between, so a hole is asked for again and believed the second time.
        """
        if offset == self.next or (offset > self.next and self.jumped):
            return "take"
        return "ask again" if offset > self.next else "went back"

    def take(self, items: list[Taken[T]], upto: int) -> None:
        """Hold decoded records; the partition goes on at `upto`."""
        self.held.extend(items)
        self.next = upto
        self.jumped = False
        self.moved = True

    def cut(self) -> Slice[T]:
        """Everything held, as one slice; nothing is held afterwards."""
        held, self.held = self.held, []
        lost, self.lost = self.lost, ()
        self.moved = False
        return Slice(self.claim, self.after, self.next, held, lost)


def place(claim: Claim, mark: int | None, start: int, end: int) -> tuple[Position[T], str | None]:
    """Where to go on in a partition whose log runs from `start` to before `end`, and what is wrong with it, if so."""
    if mark is None:
        return Position(claim, 0, start), None
    if mark < start:
        lost = f"{start - mark} records expired before they had their effect: offsets {mark} to {start - 1} are gone"
        return Position(claim, mark, start, lost=(Lost(mark, start),)), lost
    if mark > end:
        shorter = f"the log ends at {end}, before the store's mark {mark}: it lost records; reading it from its start"
        return Position(claim, 0, start, lost=(Lost(end, mark),)), shorter
    return Position(claim, mark, mark), None


def halves(slices: list[Slice[T]]) -> tuple[list[Slice[T]], list[Slice[T]]]:
    """The same work in two parts that may be flushed one after the other; at least two records must be in it."""
    if len(slices) > 1:
        middle = len(slices) // 2
        return slices[:middle], slices[middle:]
    (whole,) = slices
    middle = len(whole.items) // 2
    seam = whole.items[middle - 1].record.offset + 1
    head = Slice(whole.claim, whole.after, seam, whole.items[:middle], whole.lost)
    return [head], [Slice(whole.claim, seam, whole.upto, whole.items[middle:])]
