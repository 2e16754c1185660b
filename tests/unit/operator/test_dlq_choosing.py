"""Which letters are meant, and what an edit makes of a record."""

import json
from typing import Any

import orjson
import pytest

from contracts.topics import FEEDBACK, PROFILES
from services.cli import dlq
from services.operator.dlq.editing import CannotEdit, assignments, exactly, untouched
from services.operator.dlq.model import DeadLetter, Failure, Place
from services.operator.dlq.redriving import PROFILES_TOPICS, Candidate, refusals, sentence_of
from services.operator.dlq.selecting import Filter, moment
from services.profiles import app
from tests.unit.contracts.test_examples import EXAMPLES

NOW = 1_762_000_000_000


def dead_letter(name: str, at: int = 0, *, user: str = "u", reason: str = "Schema: no", **more: Any) -> DeadLetter:
    """A dead letter at offset `at`, found at NOW + at."""
    place = Place(more.pop("topic", FEEDBACK.name), 1, 5)
    failure = Failure(at, NOW + at, more.pop("step", "profiles"), reason, place, NOW, 1)
    return DeadLetter(name, b"u", user, (failure,), **more)


DEAD_LETTERS = [
    dead_letter("aaaa11112222", 3),
    dead_letter("aaaa33334444", 1, user="v", reason="rate: no", step="warehouse"),
    dead_letter("bbbb11112222", 2, topic=PROFILES.name, resolved=1, note="redriven"),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), "aba"),
        (Filter(limit=1), "a"),
        (Filter(reason="schema"), "ba"),
        (Filter(topic=PROFILES.name), "b"),
        (Filter(step="warehouse"), "a"),
        (Filter(user="v"), "a"),
        (Filter(since=NOW + 2), "ba"),
        (Filter(until=NOW + 2), "a"),
        (Filter(offsets=(2,)), "b"),
        (Filter(states=("open",)), "aa"),
        (Filter(ids=("bbbb",)), "b"),
        (Filter(ids=("aaaa1", "bbbb")), "ba"),
        (Filter(reason="schema", user="v"), ""),
    ],
)
def test_every_part_that_is_given_must_hold_and_the_oldest_come_first(wanted: Filter, found: str) -> None:
    assert "".join(dead_letter.id[0] for dead_letter in wanted.of(DEAD_LETTERS)) == found


@pytest.mark.parametrize(
    ("ids", "why"),
    [(("cccc",), "no dead letter cccc"), (("aaaa",), "matches 2"), (("bbb",), "give more digits")],
)
def test_an_id_that_is_none_or_two_is_said(ids: tuple[str, ...], why: str) -> None:
    with pytest.raises(LookupError, match=why):
        Filter(ids=ids).of(DEAD_LETTERS)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("90s", NOW - 90_000),
        ("2h", NOW - 7_200_000),
        ("3d", NOW - 259_200_000),
        ("2025-11-01T12:26:40", NOW),
        ("2025-11-01T13:26:40+01:00", NOW),
        ("2025-11-01", NOW - 44_800_000),
        ("now", NOW),
        (str(NOW), NOW),
    ],
)
def test_times_that_people_type(text: str, ms: int) -> None:
    assert moment(text, NOW) == ms


def test_a_time_that_is_none_says_what_is_understood() -> None:
    with pytest.raises(ValueError, match="two hours ago"):
        moment("yesterday", NOW)


def test_all_dead_letters_are_meant_only_by_saying_so() -> None:
    with pytest.raises(ValueError, match="--all` means all"):
        dlq._must_choose(Filter(states=("open",), limit=5), False, "redrive")
    dlq._must_choose(Filter(states=("open",)), True, "redrive")
    dlq._must_choose(Filter(user="u"), False, "redrive")


RECORD = b'{"schema":7, "user_id":"u","slots":[{"arm":"tfidf"},{"arm":"x"}]}'


@pytest.mark.parametrize(
    ("to_set", "to_unset", "made"),
    [
        (["schema=1"], [], {"schema": 1, "user_id": "u", "slots": [{"arm": "tfidf"}, {"arm": "x"}]}),
        (["slots.1.arm=popular"], ["schema"], {"user_id": "u", "slots": [{"arm": "tfidf"}, {"arm": "popular"}]}),
        (["slots=[]", "user_id=a=b"], ["nothing"], {"schema": 7, "user_id": "a=b", "slots": []}),
        ([], ["slots.0", "slots.9"], {"schema": 7, "user_id": "u", "slots": [{"arm": "x"}]}),
        (["muted=null", 'user_id="7"'], ["slots"], {"schema": 7, "user_id": "7", "muted": None}),
    ],
)
def test_fields_are_set_and_removed(to_set: list[str], to_unset: list[str], made: dict[str, Any]) -> None:
    assert orjson.loads(assignments(to_set, to_unset)(RECORD) or b"") == made


def test_without_an_edit_not_a_byte_changes() -> None:
    assert assignments([], []) is untouched
    assert untouched(RECORD) is RECORD
    assert untouched(None) is None
    assert exactly(b"x")(None) == b"x"


@pytest.mark.parametrize(
    ("word", "value", "why"),
    [
        ("schema=1", b"{", "not JSON"),
        ("schema=1", None, "not JSON"),
        ("schema=1", b"[1]", "not a JSON object"),
        ("slots.5.arm=x", RECORD, "no slots.5.arm"),
        ("user_id.first=x", RECORD, "no user_id.first"),
    ],
)
def test_what_cannot_be_edited_says_why(word: str, value: bytes | None, why: str) -> None:
    with pytest.raises(CannotEdit, match=why):
        assignments([word], [])(value)


@pytest.mark.parametrize("word", ["schema", "=1"])
def test_a_word_that_is_no_assignment_is_said(word: str) -> None:
    with pytest.raises(ValueError, match="is not path=value"):
        assignments([word], [])


def candidate(topic: str, value: bytes | None) -> Candidate:
    """A record to be redriven."""
    return Candidate(topic, 0, 0, NOW, b"u", value)


def test_the_topics_that_profiles_follows() -> None:
    assert set(app.TOPICS) == PROFILES_TOPICS


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("animusic.*/*.json")), ids=lambda path: path.name)
def test_an_example_is_refused_exactly_when_it_is_a_bad_one(path: Any) -> None:
    if path.parent.name == "animusic.dead-letters.v1":
        return
    found = refusals(candidate(path.parent.name, path.read_bytes()))
    assert bool(found) == (".bad." in path.name)


def test_each_consumer_says_what_it_would_refuse() -> None:
    both = refusals(candidate(FEEDBACK.name, b"{}"))
    assert set(both) == {"profiles", "warehouse"}
    assert sentence_of(both).startswith("profiles and warehouse would refuse it again: event_id: Field required")
    assert refusals(candidate("somebody.elses", b"\xff")) == {}
    no_value = refusals(candidate(FEEDBACK.name, None))
    assert "profiles would refuse it again: the record has no value" in sentence_of(no_value)


@pytest.mark.parametrize("served_at", [-1, (1 << 64) - 1 + 1])
def test_a_number_that_no_store_takes_is_found_without_the_stores(served_at: int) -> None:
    told = json.loads((EXAMPLES / "animusic.playlists.v1" / "playlist.good.json").read_bytes())
    value = json.dumps({**told, "served_at": served_at}).encode()
    found = refusals(candidate("animusic.playlists.v1", value))
    assert "a number is too large for the store" in found["profiles"]
    assert "does not fit its column" in found["warehouse"]
