"""The fast way of reading feedback gives what the contract gives, or steps aside."""

import json
import random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import FeedbackEvent, read_event
from contracts.fold import Stored
from contracts.plain_feedback import fast_feedback
from contracts.topics import FEEDBACK
from services.operator.replay.folding import Held
from services.profiles.writes import Feedback, ShardWrites, feedback_of
from tests.support.histories import BASE_MS, history_strategy, random_event

PLAIN: dict[str, Any] = {
    "schema": 1, "event_id": str(UUID(int=5)), "kind": "progress", "user_id": "u-1", "occurred_at": BASE_MS,
    "received_at": BASE_MS, "song_id": "anidb-1", "play_id": str(UUID(int=9)), "watch_ms": 0, "played_ms": 7,
    "duration_ms": 1, "link": "https://youtu.be/x?a=b", "rate": 1.25, "muted": False, "hidden": True,
    "attribution": "slot", "arm": "tfidf", "playlist_id": str(UUID(int=3)), "revision": 0, "slot": 12, "p_arm": 1.0,
    "p_song": 1.5e-05, "model_version": "0123456789abcdef", "issued_at": BASE_MS,
}  # fmt: skip


def line(**changed: Any) -> bytes:
    """A record's value as the gateway writes it; a field that is None is left out."""
    fields = {name: value for name, value in {**PLAIN, **changed}.items() if value is not None}
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def read_fast(value: bytes) -> Feedback | None:
    """What the fast way reads, as the contract's way gives it."""
    (fast,) = fast_feedback([value])
    if fast is None:
        return None
    user_id, name, stored = fast
    assert bool(name) == bool(stored)
    return Feedback(user_id.decode(), {name: stored} if name else {})


@given(history_strategy())
def test_what_the_gateway_writes_is_read_fast_and_equal(events: list[FeedbackEvent]):
    for event in events:
        assert read_fast(event.log_value()) == feedback_of(event)


VALUES: dict[str, list[Any]] = {
    "schema": [1, 2, None, "1"],
    "event_id": [str(UUID(int=77)), "x", "{00000000-0000-0000-0000-000000000001}", 5, None],
    "kind": ["liked", "unliked", "shown", "vetoed", "Liked", None],
    "user_id": ["u", "", "a b", "é", 'q"q', "u" * 128, "u" * 129, None],
    "occurred_at": [BASE_MS, 0, 1_577_836_799_999, 1_577_836_800_000, 1 << 53, -1, 1.5e12, "1700000000000", None],
    "received_at": [0, None],
    "song_id": ["s", "", "s\\s", "ソ", None],
    "anime_id": ["mal-1", "", None],
    "watch_ms": [5, -1, 0xFFFF_FFFF, 1 << 32, 1.0, True, None],
    "duration_ms": [0, 1, 240_000, None],
    "rate": [1, 0.5, 1e300, None],
    "muted": [1, "true", None],
    "link": ["x" * 200, "x" * 201, 'a"b', None],
    "attribution": ["slot", "claimed", "none", "refused", "other", None],
    "refusal": ["stale", None],
    "arm": ["mpnet", "other", None],
    "slot": [0, 99, 100, 255, 256, None],
    "revision": [65_535, 65_536, 10_000, None],
    "p_arm": [0.0, 1, 1.0, 1.1, -0.1, 1e-7, None],
    "model_version": ["0123456789ABCDEF", "0", None],
    "issued_at": [-1, 0, 1 << 60, None],
}


@given(st.dictionaries(st.sampled_from(sorted(VALUES)), st.integers(0, 8), max_size=4))
def test_what_the_fast_way_takes_the_contract_takes_and_gives_the_same(chosen: dict[str, int]):
    changed = {name: VALUES[name][index % len(VALUES[name])] for name, index in chosen.items()}
    value = line(**changed)
    fast = read_fast(value)
    if fast is not None:
        assert fast == feedback_of(read_event(value))


@pytest.mark.parametrize(
    "value",
    [b"", b"{}", line() + b" ", line().replace(b'"watch_ms":0', b'"watch_ms":00'), line()[:-1], b" " + line()],
)
def test_other_layouts_are_left_to_the_contract(value: bytes):
    assert fast_feedback([line()]) != [None]
    assert fast_feedback([value]) == [None]


LINES = st.sampled_from([line(), line(kind="liked"), line(song_id=None), line() + b"\n", b"\n", b"", b"{}", b"\r\n"])


@given(st.lists(LINES | st.lists(LINES, min_size=2, max_size=3).map(b"\n".join), max_size=6))
def test_values_read_together_are_read_as_each_by_itself(values: list[bytes]):
    """Also where a value holds what would be a line of its own."""
    assert fast_feedback(values) == [fast_feedback([value])[0] for value in values]


def test_what_is_held_equals_the_fold_and_poison_is_told():
    rng = random.Random(3)
    events = [random_event(rng, f"u{rng.randrange(20)}") for _ in range(400)]
    held, plain = Held(FEEDBACK.name), ShardWrites()
    for event in events:
        # Every third in another layout, so that both ways fold into the same registers.
        value = event.log_value() if rng.randrange(3) else json.dumps(json.loads(event.log_value())).encode()
        assert held.add([(0, 0, value)]) == 0
        plain.add(feedback_of(event))
    some = (line(song_id=None), line(kind="shown", watch_ms=None), None, b"")
    assert held.add([(offset, 0, value) for offset, value in enumerate(some)]) == 3
    found: dict[str, Stored] = {}
    for writes in held.by_shard().values():
        found |= writes.stored
    assert {user: fields for user, fields in found.items() if fields} == plain.fields()
    assert held.by_shard() == {}
