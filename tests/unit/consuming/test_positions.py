"""Where a consumer goes on: pure decisions."""

from types import SimpleNamespace

import pytest

from contracts.dead_letters import Redriven, dead_letter_id
from contracts.marks import MarkName
from services.common.kafka.consuming.dead_letters import headers_of
from services.common.kafka.consuming.model import Assignment, DecodedRecord, Gap, Slice
from services.common.kafka.consuming.positions import Position, halves, place

ASSIGNMENT = Assignment(MarkName("a" * 32, 0), "topic", 8)


def taken(*offsets: int) -> list[DecodedRecord[str]]:
    """Decoded records at these offsets."""
    return [DecodedRecord(SimpleNamespace(offset=offset), str(offset)) for offset in offsets]


@pytest.mark.parametrize(
    ("mark", "log", "after", "goes_on", "gaps"),
    [
        (None, (0, 10), 0, 0, ()),
        (None, (4, 10), 0, 4, ()),
        (7, (0, 10), 7, 7, ()),
        (10, (0, 10), 10, 10, ()),
        (3, (5, 10), 3, 5, (Gap(3, 5),)),
        (12, (0, 10), 0, 0, (Gap(10, 12),)),
    ],
)
def test_a_partition_is_placed_by_the_store_s_mark(mark, log, after, goes_on, gaps):
    position, said = place(ASSIGNMENT, mark, *log)
    assert (position.after, position.next) == (after, goes_on)
    assert (said is not None) is bool(gaps)
    assert position.gaps == position.cut().gaps == gaps
    assert position.cut().gaps == (), "a loss is told once"


def test_a_hole_is_believed_the_second_time_only():
    position: Position[str] = Position(ASSIGNMENT, 5, 5)
    assert position.judge(5) == "take"
    assert position.judge(8) == "ask again"
    position.jumped = True
    assert position.judge(8) == "take"
    position.take(taken(8), 9)
    assert position.judge(11) == "ask again"
    assert position.judge(8) == "went back"


def test_a_cut_continues_where_the_store_is_and_holds_nothing_afterwards():
    position: Position[str] = Position(ASSIGNMENT, 5, 5)
    position.take(taken(5, 6), 8)
    cut = position.cut()
    assert (cut.after, cut.upto, [item.value for item in cut.items]) == (5, 8, ["5", "6"])
    assert (position.held, position.moved, position.next) == ([], False, 8)


def test_halves_meet_at_a_mark_and_lose_nothing():
    whole = Slice(ASSIGNMENT, 3, 20, taken(4, 9, 15), gaps=(Gap(3, 4),))
    (head,), (tail,) = halves([whole])
    assert (head.gaps, tail.gaps) == (whole.gaps, ())
    assert (head.after, head.upto, len(head.items)) == (3, 5, 1)
    assert (tail.after, tail.upto, len(tail.items)) == (5, 20, 2)
    assert halves([head, tail]) == ([head], [tail])


def test_the_headers_of_a_dead_letter_say_where_it_came_from():
    record = SimpleNamespace(topic="t", partition=2, offset=9, timestamp=77, headers=())
    first = headers_of(record, "profiles", "because", "ab" * 16)
    name = dead_letter_id("ab" * 16, "t", 2, 9).encode()
    assert first == [
        ("reason", b"because"),
        ("step", b"profiles"),
        ("topic", b"t"),
        ("partition", b"2"),
        ("offset", b"9"),
        ("time", b"77"),
        ("topic_id", b"ab" * 16),
        ("letter", name),
        ("attempts", b"1"),
    ]
    # Sent again from the dead letters it lies elsewhere, and is the same letter.
    record = SimpleNamespace(
        topic="t", partition=2, offset=30, timestamp=99, headers=Redriven(name.decode(), 1).headers()
    )
    assert headers_of(record, "profiles", "because", "ab" * 16)[-2:] == [("letter", name), ("attempts", b"2")]
