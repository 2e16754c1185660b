"""From records of the dead-letter topic to dead letters: one a poisoned record, whoever failed and however often."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from contracts.dead_letters import Redriven, dead_letter_id, note_headers, redriven_of
from contracts.topics import FEEDBACK, MODELS
from services.common.kafka.consuming.dead_letters import headers_of
from services.operator.dlq.log import deletable
from services.operator.dlq.model import DeadLetter, DeadLetters, user_in
from services.operator.dlq.selecting import as_json, by_hour, groups

TOPIC_ID = "ab" * 16
HOUR = 3_600_000
T0 = 1_762_000_000_000 - 1_762_000_000_000 % HOUR


class Topic:
    """The dead-letter topic, being written."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def append(self, headers: list[tuple[str, bytes]], **fields: Any) -> None:
        """One record."""
        at = len(self.records)
        whole = {"offset": at, "timestamp": T0 + at, "key": b"u", "value": b"?", "headers": tuple(headers), **fields}
        self.records.append(SimpleNamespace(**whole))

    def fail(
        self, step: str, offset: int = 9, before: Redriven | None = None, reason: str = "no", **fields: Any
    ) -> str:
        """A consumer could not read a record; returns the letter's id."""
        topic = fields.pop("topic", FEEDBACK.name)
        record = SimpleNamespace(topic=topic, partition=2, offset=offset, timestamp=T0, headers=())
        record.headers = tuple(before.headers()) if before else ()
        self.append(headers_of(record, step, reason, TOPIC_ID), **fields)
        return before.letter if before else dead_letter_id(TOPIC_ID, topic, 2, offset)

    def note(self, what: Any, dead_letter: str, attempts: int = 1) -> None:
        """What became of a letter."""
        self.append(note_headers(what, dead_letter, attempts, "t/0@5"), key=dead_letter.encode(), value=None)

    @property
    def all(self) -> DeadLetters:
        """All of it, folded."""
        found = DeadLetters()
        found.add(self.records)
        return found

    def dead_letter(self, name: str) -> DeadLetter:
        """One letter."""
        return self.all.by_id[name]


def test_two_steps_that_fail_are_one_dead_letter() -> None:
    topic = Topic()
    name = topic.fail("profiles", reason="schema: no")
    assert topic.fail("warehouse", reason="schema: no") == name
    dead_letter = topic.dead_letter(name)
    assert (dead_letter.steps, dead_letter.reason, dead_letter.attempts, dead_letter.state) == (
        ("profiles", "warehouse"), "schema: no", 1, "open",
    )  # fmt: skip
    topic.fail("warehouse", reason="a value does not fit")
    assert topic.dead_letter(name).reason == "profiles: schema: no; warehouse: a value does not fit"


def test_redriven_it_is_done_until_it_fails_again_and_then_it_is_the_same() -> None:
    topic = Topic()
    name = topic.fail("profiles")
    topic.note("redriven", name)
    assert (topic.dead_letter(name).state, topic.dead_letter(name).to) == ("redriven", "t/0@5")
    topic.fail("warehouse", offset=40, before=Redriven(name, 1), reason="still no")
    dead_letter = topic.dead_letter(name)
    assert (dead_letter.state, dead_letter.attempts, dead_letter.steps, dead_letter.reason) == (
        "open",
        2,
        ("warehouse",),
        "still no",
    )
    assert dead_letter.last.place.offset == 40
    topic.note("redriven", name, attempts=2)
    assert topic.dead_letter(name).state == "redriven"
    topic.note("purged", name, attempts=2)
    assert topic.dead_letter(name).state == "purged"


def test_a_store_that_reads_an_old_record_again_opens_nothing() -> None:
    topic = Topic()
    name = topic.fail("profiles")
    topic.note("redriven", name)
    topic.fail("profiles")
    assert topic.dead_letter(name).state == "redriven"
    assert len(topic.all.by_id) == 1


def test_dead_letters_from_before_the_newer_headers_are_told_apart_by_their_place() -> None:
    topic = Topic()
    old = [("reason", b"r"), ("step", b"s"), ("topic", b"t"), ("partition", b"1"), ("offset", b"7"), ("time", b"5")]
    topic.append(old)
    topic.append(old)
    topic.append([*old[:4], ("offset", b"8"), *old[5:]])
    assert [dead_letter.attempts for dead_letter in topic.all.by_id.values()] == [1, 1]
    assert dead_letter_id("", "t", 1, 7) in topic.all.by_id


def test_headers_of_any_bytes_are_no_trouble() -> None:
    topic = Topic()
    topic.append(
        [("topic", b"\xff"), ("partition", b"-1"), ("offset", "²".encode()), ("attempts", b"x"), ("time", b"")]
    )
    topic.append([("note", b"redriven"), ("letter", b"\xfe")])
    topic.append([("something", b"else")])
    found = topic.all
    assert (len(found.by_id), found.end) == (1, 3)
    assert redriven_of([("animusic-letter", b"\xff"), ("animusic-attempts", b"-4")]) == Redriven("\ufffd", 1)
    assert redriven_of([]) is None


def test_whose_letter_it_is() -> None:
    topic = Topic()
    told = topic.fail("profiles", key=b"other", value=b'{"user_id":"me"}')
    by_key = topic.fail("profiles", offset=10, key=b"me", value=b'{"user_id":')
    nobody = topic.fail("profiles", offset=11, key=None, value=None)
    arm = topic.fail("warehouse", offset=12, key=b"mpnet", value=b"{}", topic=MODELS.name)
    assert [topic.dead_letter(name).user for name in (told, by_key, nobody, arm)] == ["me", "me", None, None]
    assert user_in(b'["user_id"]') is None
    assert user_in(b'{"user_id":7}') is None


def test_nothing_before_a_letter_that_is_not_purged_is_deleted() -> None:
    topic = Topic()
    first, second = topic.fail("profiles"), topic.fail("profiles", offset=10)
    topic.note("purged", second)
    assert deletable(topic.all) == 0
    topic.note("purged", first)
    assert deletable(topic.all) == topic.all.end == 4
    topic.fail("warehouse", offset=50, before=Redriven(first, 1))
    assert deletable(topic.all) == 0


@given(st.lists(st.sampled_from(["fail", "fail again", "redrive", "purge", "read again"]), max_size=30))
def test_a_letter_is_open_exactly_when_its_newest_failure_was_not_dealt_with(steps: list[str]) -> None:
    topic = Topic()
    name = topic.fail("profiles")
    attempts, dealt = 1, False
    for step in steps:
        if step == "fail again" and dealt:
            topic.fail("profiles", offset=100 + attempts, before=Redriven(name, attempts))
            attempts, dealt = attempts + 1, False
        elif step == "read again":
            topic.fail("warehouse")
        elif step in ("redrive", "purge"):
            topic.note("redriven" if step == "redrive" else "purged", name, attempts)
            dealt = True
    dead_letter = topic.dead_letter(name)
    assert (dead_letter.state == "open", dead_letter.attempts) == (not dealt, attempts)
    assert len(topic.all.by_id) == 1


def test_many_dead_letters_in_few_lines() -> None:
    topic = Topic()
    for number in range(3):
        topic.fail("profiles", offset=number, reason="schema: no", timestamp=T0 + 2 * number * HOUR)
    topic.fail("warehouse", offset=9, reason="EOF at line 1 column 7", timestamp=T0 + HOUR)
    topic.fail("warehouse", offset=9, reason="EOF at line 1 column 30", timestamp=T0 + HOUR)
    dead_letters = list(topic.all.by_id.values())
    assert [(group.reason, group.count, group.states) for group in groups(dead_letters)] == [
        ("schema: no", 3, {"open": 3}),
        ("EOF at line … column …", 1, {"open": 1}),
    ]
    assert groups(dead_letters)[0].example == dead_letters[2].id
    hours = by_hour(dead_letters)
    assert hours == {T0: 1, T0 + HOUR: 1, T0 + 2 * HOUR: 1, T0 + 3 * HOUR: 0, T0 + 4 * HOUR: 1}
    assert by_hour([]) == {}
    assert as_json(dead_letters[0])["redriven_to"] is None
