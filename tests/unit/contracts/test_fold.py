"""The law: the same set of events gives the same registers, in any order, with any duplication, in any batching."""

import random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import FeedbackEvent
from contracts.fold import Folded, fold, stored_fields, user_digest, watched_value, writes
from contracts.registers import (
    LIKED,
    REGISTERS,
    SERVED_IDENTITY,
    SERVED_SLICES,
    SERVED_WIDTH,
    SETTLED,
    STARTED,
    VETO,
    WATCHED,
    Register,
    merge_served,
)
from tests.support.histories import BASE_MS, batches, histories, history_strategy

_LIMITS = {"B": 0xFF, "H": 0xFFFF, "I": 0xFFFF_FFFF, "Q": (1 << 64) - 1}


def values_of(register: Register) -> st.SearchStrategy[tuple[object, ...]]:
    """Tuples of a register's fields; few distinct ones, so that ties on the first fields happen."""
    fields = [
        st.sampled_from((0, 1, 255, 256, _LIMITS[code])).map(lambda v, code=code: min(v, _LIMITS[code]))
        if code in _LIMITS
        else st.sampled_from([bytes(int(code[:-1])), b"\x7f" * int(code[:-1]), b"\xff" * int(code[:-1])])
        for _, code in register.fields
    ]
    return st.tuples(*fields)


any_register = st.sampled_from(REGISTERS)
register_and_three = any_register.flatmap(
    lambda r: st.tuples(st.just(r), *[values_of(r).map(lambda v: r.encode(*v))] * 3)
)


@given(register_and_three)
def test_a_merge_is_a_join(drawn):
    register, a, b, c = drawn
    assert register.merge(a, b) == register.merge(b, a)
    assert register.merge(a, register.merge(b, c)) == register.merge(register.merge(a, b), c)
    assert register.merge(a, a) == a
    assert register.merge(a, register.identity) == a


@given(any_register.flatmap(lambda r: st.tuples(st.just(r), values_of(r), values_of(r))))
def test_encoding_preserves_order_and_decodes_to_what_went_in(drawn):
    register, one, other = drawn
    first, second = register.encode(*one), register.encode(*other)
    assert (first < second) == (one < other)
    assert (first == second) == (one == other)
    assert len(first) == register.width
    if first != register.identity:
        assert tuple(register.decode(first).values()) == one


@given(st.lists(st.sampled_from([b"\x00", b"\x01", b"\x7f", b"\xff"]).map(lambda b: b * SERVED_WIDTH), max_size=4))
def test_packed_registers_merge_as_each_register_does(packed):
    merged = SERVED_IDENTITY
    for value in packed:
        merged = merge_served(merged, value)
    for register, part in zip((WATCHED, LIKED, STARTED, SETTLED), SERVED_SLICES.values(), strict=True):
        alone = register.identity
        for value in packed:
            alone = register.merge(alone, value[part])
        assert merged[part] == alone


@given(history_strategy(), st.integers())
def test_order_duplication_and_splits_do_not_matter(events, seed):
    parts: dict[str, Folded] = {}
    for batch in batches(events, seed):
        for user_id, folded in fold(batch).items():
            parts.setdefault(user_id, Folded()).merge(folded)
    assert parts == fold(events)


@given(history_strategy())
def test_a_fold_of_folds_in_any_tree_is_the_fold(events):
    half = len(events) // 2
    left, right = fold(events[:half]), fold(events[half:])
    for user_id, folded in fold(events).items():
        tree = Folded()
        for part in (right, left, right):
            if user_id in part:
                tree.merge(part[user_id])
        assert tree == folded


def test_thousands_of_histories_fold_the_same_in_any_arrangement():
    for history in histories(seed=3, n=1_000):
        again = fold(event for batch in batches(history.events, history.number) for event in batch)
        assert again == fold(history.events)


def test_histories_contradict_themselves():
    """Or else they would prove nothing: equal ids with different payloads, and equal times with different ids."""
    seen = [history for history in histories(seed=1, n=50) if len(history.events) > 10]
    by_id = [{(e.event_id, e.user_id): e for e in h.events} for h in seen]
    assert sum(len(h.events) - len(ids) for h, ids in zip(seen, by_id, strict=True)) > 20
    assert any(len({e.occurred_at for e in h.events}) < len({e.event_id for e in h.events}) for h in seen)


def event(kind: str, at: int = 0, event_id: int = 1, **fields) -> FeedbackEvent:
    """An event of user u about song s (or an anime)."""
    about = {} if kind in ("vetoed", "unvetoed") else {"song_id": "s"}
    return FeedbackEvent.model_validate(
        {
            "event_id": UUID(int=event_id),
            "kind": kind,
            "user_id": "u",
            "occurred_at": BASE_MS + at,
            "received_at": BASE_MS,
            **about,
            **fields,
        }
    )


def song(*events: FeedbackEvent) -> dict[str, dict[str, object] | None]:
    """The served registers of song s after the events, by name."""
    packed = fold(events)["u"].songs["s"]
    return {r.name: r.decode(packed[SERVED_SLICES[r.name]]) for r in (WATCHED, LIKED, STARTED, SETTLED)}


def test_a_replay_of_one_minute_never_lowers_three():
    three = event("progress", watch_ms=180_000, duration_ms=240_000)
    one = event("progress", at=9, event_id=2, watch_ms=60_000, duration_ms=240_000)
    assert song(three, one)["watched"] == {"ppm": 750_000, "watch_ms": 180_000, "duration_ms": 240_000}


def test_a_ten_hour_upload_does_not_mix_with_a_four_minute_one():
    short = event("progress", watch_ms=200_000, duration_ms=240_000)
    long = event("progress", event_id=2, watch_ms=3_600_000, duration_ms=36_000_000)
    assert song(short, long)["watched"] == {"ppm": 833_333, "watch_ms": 200_000, "duration_ms": 240_000}


@pytest.mark.parametrize(
    ("watch", "duration", "ppm"), [(1, 3, 333_333), (5, 4, 1_000_000), (0, 7, 0), (2, 2, 1_000_000)]
)
def test_progress_is_whole_ppm_rounded_down_and_at_most_all(watch, duration, ppm):
    assert WATCHED.decode(watched_value(watch, duration))["ppm"] == ppm


def test_the_latest_like_or_unlike_wins_in_any_order():
    like, unlike = event("liked", at=1), event("unliked", at=2, event_id=2)
    assert song(unlike, like)["liked"]["value"] == 0
    assert song(like, unlike)["liked"]["value"] == 0
    assert song(unlike, event("liked", at=3, event_id=3))["liked"]["value"] == 1


def test_equal_times_are_settled_by_the_id_and_equal_ids_by_the_value():
    low, high = event("liked", event_id=1), event("unliked", event_id=2)
    assert song(high, low)["liked"]["value"] == 0
    assert song(event("liked", event_id=2), high)["liked"]["value"] == 1


def test_what_settles_a_song():
    for kind in ("ended", "liked"):
        assert song(event(kind))["settled"] is not None
    assert song(event("skipped", direction="next"))["settled"] is not None
    for kind in ("started", "unliked"):
        assert song(event(kind))["settled"] is None
    assert not list(writes(event("shown")))


def test_only_an_attributed_play_is_an_exposure_and_the_first_counts():
    claimed = event("started", at=5, attribution="claimed", arm="tfidf")
    later = event(
        "started", at=6, event_id=2, attribution="slot", arm="random", playlist_id=UUID(int=9), revision=1, slot=2
    )
    exposures = fold([later, claimed, event("started", at=1, event_id=3)])["u"].exposures
    assert exposures == fold([claimed])["u"].exposures


def test_plays_are_kept_by_their_maximum():
    plays = [event("progress", event_id=i, play_id=UUID(int=i % 2), played_ms=ms) for i, ms in enumerate((5, 7, 3))]
    assert sorted(fold(plays)["u"].played.values()) == [(5).to_bytes(4, "big"), (7).to_bytes(4, "big")]


def test_a_veto_is_about_an_anime_and_can_be_taken_back():
    vetoes = fold([event("vetoed", anime_id="mal-1"), event("unvetoed", at=1, event_id=2, anime_id="mal-1")])[
        "u"
    ].vetoes
    assert VETO.decode(vetoes["mal-1"])["value"] == 0


@given(history_strategy(), history_strategy())
def test_digests_differ_by_profile_and_not_by_order(one, other):
    def fields(events):
        return stored_fields(fold(events).get("u1", Folded()))

    first, second = fields(one), fields(other)
    shuffled = list(first.items())
    random.Random(0).shuffle(shuffled)
    assert user_digest("u1", dict(shuffled)) == user_digest("u1", {**first, b"#": b"any", b"~": b"thing"})
    assert (user_digest("u1", first) == user_digest("u1", second)) == (first == second)
