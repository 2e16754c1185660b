"""When a user who differs is a fault, when equal after all, and when nothing can be said: the log goes on meanwhile."""

from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition

from contracts.fold import Folded, fold
from contracts.topics import FEEDBACK
from services.operator.readers.log import Offsets
from services.operator.verify import checking
from services.operator.verify.checking import _Verification
from services.operator.verify.folding import Folds
from services.operator.verify.model import ROUNDS, Report
from tests.unit.operator.test_trace import event

TP = TopicPartition(FEEDBACK.name, 0)
SPANS = {TP: (0, 10)}


def offsets(end: int, begin: int = 0) -> Offsets:
    """One partition of feedback that ends there."""
    return Offsets(0.0, {FEEDBACK.name: "a" * 32}, {TP: begin}, {TP: end})


class Moving:
    """A log that gets one more record between two looks, and a store; `writes`: what each look finds of the user."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, held: list[Folded], writes: list[Folded]) -> None:
        self.report, self.waited = Report(1.0), []
        self._ends, self._held, self._writes = iter(range(10, 100)), iter(held), iter(writes)
        for name, fake in (("offsets", self.offsets), ("folds_of", self.folds_of), ("folds_in", self.folds_in)):
            monkeypatch.setattr(checking, name, fake)
        run = SimpleNamespace(kafka=None, warehouse=None, report=self.report, reached=self.reached)
        self.verification = _Verification(run, offsets(10))

    async def offsets(self, *_: object) -> Offsets:
        return offsets(next(self._ends))

    async def folds_of(self, _run: object, _spans: object, users: set[str]) -> Folds:
        written = next(self._writes)
        return Folds(clickhouse={"u": written} if written.songs and "u" in users else {})

    async def folds_in(self, *_: object) -> dict[str, Folded]:
        return {"u": next(self._held)}

    async def reached(self, log: Offsets, store: str) -> None:
        self.waited.append((log.ends[TP], store))


def folded(*songs: str) -> Folded:
    return fold([event(song_id=song) for song in songs])["u"]


async def check(moving: Moving, expected: Folded, spans: dict = SPANS) -> list[str]:
    """The registers that differ for good."""
    await moving.verification._check_store("clickhouse", {"u"}, {"u": expected}, spans)
    return [str(slot) for _, _, slot, _, _ in moving.verification._pending]


async def test_who_wrote_nothing_since_differs_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    moving = Moving(monkeypatch, [folded("a")], [Folded()])
    assert await check(moving, folded("a", "b")) == ["song b: liked", "song b: settled"]
    assert moving.report.unsettled == []


async def test_who_wrote_meanwhile_is_compared_again_with_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    moving = Moving(monkeypatch, [folded("a", "new"), folded("a", "new", "newer")], [folded("new", "newer")])
    assert await check(moving, folded("a")) == []
    assert moving.waited == [(10, "clickhouse")]


async def test_who_never_stops_writing_is_unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [folded("a", f"{number}") for number in range(ROUNDS)]
    moving = Moving(monkeypatch, held, [folded(f"w{number}") for number in range(ROUNDS)])
    assert await check(moving, folded("a")) == []
    assert (moving.report.unsettled, moving.report.code) == (["u"], 2)


async def test_a_log_without_its_beginning_tells_only_what_it_still_has(monkeypatch: pytest.MonkeyPatch) -> None:
    partial = {TP: (5, 10)}
    more = Moving(monkeypatch, [folded("a", "old")], [Folded()])
    assert await check(more, folded("a"), partial) == []
    less = Moving(monkeypatch, [folded("old")], [Folded()])
    assert await check(less, folded("a"), partial) == ["song a: liked", "song a: settled"]
