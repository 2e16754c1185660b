"""When events happened: what a listener did last holds, whatever their clock says."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import FeedbackEvent
from contracts.fold import Folded, fold
from contracts.registers import LIKED, VETO
from contracts.tokens import Signer
from services.gateway.stamp import Stamp, Stamped, Stamper
from services.gateway.times import SET_BACK_MS

NOW = 1_790_000_000_000
MINUTE_MS = 60_000
FOUR_MINUTES = 4 * MINUTE_MS
YEAR_MS = 365 * 86_400_000
# Ids that would decide the other way if two events had the same time.
HIGH, LOW = UUID(int=2**128 - 1), UUID(int=1)


def event(kind: str, occurred_at: object, event_id: UUID, about: str = "a") -> dict[str, Any]:
    what = {"anime_id": about} if kind.endswith("vetoed") else {"song_id": about}
    return {"event_id": str(event_id), "kind": kind, "occurred_at": occurred_at, **what}


def stamper() -> Stamper:
    return Stamper(Signer(b"k" * 32))


def arriving(to: Stamper, now: int, *events: dict[str, Any]) -> Stamped:
    stamped = to.post(events, Stamp("u1", now, YEAR_MS))
    assert not stamped.rejected
    return stamped


def folded(*posts: Stamped) -> Folded:
    (found,) = fold(FeedbackEvent.model_validate_json(value) for post in posts for value in post.values).values()
    return found


def times(post: Stamped) -> list[int]:
    return [orjson.loads(value)["occurred_at"] for value in post.values]


def is_liked(*posts: Stamped, song: str = "a") -> bool:
    packed = folded(*posts).songs[song]
    found = LIKED.decode(packed[12 : 12 + LIKED.width])
    assert found is not None
    return bool(found["value"])


def is_vetoed(*posts: Stamped) -> bool:
    found = VETO.decode(folded(*posts).vetoes["a"])
    assert found is not None
    return bool(found["value"])


@pytest.mark.parametrize(("do", "undo", "holds"), [("liked", "unliked", is_liked), ("vetoed", "unvetoed", is_vetoed)])
@pytest.mark.parametrize("ahead", [1, FOUR_MINUTES, 6 * MINUTE_MS, YEAR_MS, 10**18])
@pytest.mark.parametrize("later", [NOW, NOW + 3])
def test_a_later_unlike_undoes_a_like_from_the_future(
    do: str, undo: str, holds: Callable[..., bool], *, ahead: int, later: int
) -> None:
    to = stamper()
    first = arriving(to, NOW, event(do, NOW + ahead, HIGH))
    assert holds(first)
    assert not holds(first, arriving(to, later, event(undo, later, LOW)))


def test_a_time_ahead_becomes_the_time_of_arrival_and_the_answer_says_so() -> None:
    post = arriving(stamper(), NOW, event("liked", NOW + FOUR_MINUTES, LOW))
    assert times(post) == [NOW] == [orjson.loads(post.values[0])["received_at"]]
    (warned,) = post.warnings
    assert (warned.event_id, warned.code) == (str(LOW), "clock_ahead")
    assert "240 s ahead" in warned.reason


@pytest.mark.parametrize(
    "at", [NOW + 2 * YEAR_MS, 10**30, 10**400, 1e300], ids=["2 y", "30 digits", "400 digits", "float"]
)
def test_a_time_far_ahead_is_one_that_is_ahead_however_large(at: float) -> None:
    post = arriving(stamper(), NOW, event("liked", at, LOW))
    assert times(post) == [NOW]
    (warned,) = post.warnings
    assert warned.reason.startswith("clock_ahead: occurred_at is far ahead of the server, so")


def test_a_small_clock_difference_is_corrected_without_a_warning() -> None:
    post = arriving(stamper(), NOW, event("liked", NOW + 30, LOW))
    assert times(post) == [NOW]
    assert post.warnings == []


@pytest.mark.parametrize("at", [NOW, NOW - 1, NOW - 30 * 86_400_000])
def test_a_possible_time_is_kept(at: int) -> None:
    post = arriving(stamper(), NOW, event("liked", at, LOW))
    assert times(post) == [at]
    assert orjson.loads(post.values[0])["received_at"] == NOW


@pytest.mark.parametrize(
    "at", [NOW // 1000, 0, -1, 1_262_304_000_000], ids=["seconds", "1970", "negative", "a clock of 2010"]
)
def test_a_time_before_2020_becomes_the_time_of_arrival_too(at: int) -> None:
    post = arriving(stamper(), NOW, event("liked", at, LOW))
    assert times(post) == [NOW]
    assert [warned.code for warned in post.warnings] == ["impossible_time"]


@pytest.mark.parametrize("at", [NOW - 0.5, float(NOW - 1), str(NOW - 1), f" {NOW - 1}.25 "])
def test_a_time_is_read_in_any_spelling_of_the_number(at: object) -> None:
    post = arriving(stamper(), NOW, event("liked", at, LOW))
    assert times(post) == [NOW - 1]
    assert post.warnings == []


def test_a_post_that_is_ahead_keeps_its_order_and_ends_when_it_arrives() -> None:
    events = [event("liked", NOW + FOUR_MINUTES, UUID(int=9 - n), f"s{n}") for n in range(3)]
    assert times(arriving(stamper(), NOW, *events)) == [NOW - 2, NOW - 1, NOW]


@pytest.mark.parametrize("again", [NOW, NOW - 50, NOW + 1, NOW + FOUR_MINUTES])
def test_in_one_post_the_later_event_about_a_song_wins(again: int) -> None:
    post = arriving(stamper(), NOW, event("liked", NOW + FOUR_MINUTES, HIGH), event("unliked", again, LOW))
    assert not is_liked(post)
    assert max(times(post)) <= NOW


@pytest.mark.parametrize("at", [NOW, NOW + FOUR_MINUTES])
def test_two_posts_in_one_millisecond_keep_their_order(at: int) -> None:
    to = stamper()
    first = arriving(to, NOW, event("liked", at, HIGH))
    second = arriving(to, NOW, event("unliked", NOW + FOUR_MINUTES, LOW))
    assert not is_liked(first, second)
    third = arriving(to, NOW, event("liked", times(second)[0], UUID(int=0)))
    assert is_liked(first, second, third)
    values = [orjson.loads(value) for value in (*second.values, *third.values)]
    assert all(value["occurred_at"] <= value["received_at"] <= NOW + 2 for value in values)


def test_two_clicks_within_one_tick_of_a_coarse_clock_keep_their_order() -> None:
    tick = NOW - 250
    post = arriving(stamper(), NOW, event("liked", tick, HIGH), event("unliked", tick, LOW))
    assert not is_liked(post)


def test_an_event_that_arrives_late_does_not_win_over_a_newer_one() -> None:
    to = stamper()
    newer = arriving(to, NOW, event("unliked", NOW - 10, LOW))
    assert not is_liked(newer, arriving(to, NOW + 5, event("liked", NOW - 11, HIGH)))
    both = event("unliked", NOW - 10, LOW, "b"), event("liked", NOW - 11, HIGH, "b")
    assert not is_liked(arriving(stamper(), NOW, *both), song="b")


@pytest.mark.parametrize("after_ms", [1, 5 * MINUTE_MS])
def test_an_event_that_is_posted_again_keeps_its_time(after_ms: int) -> None:
    """After five minutes its time is no longer ahead; it would win over what was done meanwhile."""
    to, like = stamper(), event("liked", NOW + FOUR_MINUTES, HIGH)
    first = arriving(to, NOW, like)
    unlike = arriving(to, NOW + 1, event("unliked", NOW + 1, LOW))
    again = arriving(to, NOW + after_ms, like)
    assert again.values[0].replace(b"%d" % (NOW + after_ms), b"%d" % NOW) == first.values[0]
    assert not is_liked(first, unlike, again)


def test_the_same_event_twice_in_a_post_is_one() -> None:
    like, unlike = event("liked", NOW + FOUR_MINUTES, HIGH), event("unliked", NOW + FOUR_MINUTES, LOW)
    post = arriving(stamper(), NOW, like, unlike, like)
    assert times(post)[0] == times(post)[2]
    assert not is_liked(post)
    same = event("liked", NOW - 5, HIGH)
    assert times(arriving(stamper(), NOW, same, same)) == [NOW - 5, NOW - 5]


def test_the_song_that_was_started_last_is_the_latest_started() -> None:
    events = [event("started", NOW + FOUR_MINUTES, HIGH, "a"), event("started", NOW - 2000, LOW, "b")]
    first, second = times(arriving(stamper(), NOW, *events))
    assert first < second == NOW - 2000


def test_after_the_servers_clock_was_set_back_times_are_its_own_again() -> None:
    to = stamper()
    arriving(to, NOW + SET_BACK_MS + 1, event("liked", NOW + FOUR_MINUTES, HIGH))
    assert times(arriving(to, NOW, event("unliked", NOW + FOUR_MINUTES, LOW))) == [NOW]


def test_users_do_not_move_each_others_times() -> None:
    to = stamper()
    arriving(to, NOW, event("liked", NOW + FOUR_MINUTES, HIGH))
    other = to.post([event("liked", NOW + FOUR_MINUTES, HIGH)], Stamp("u2", NOW, YEAR_MS))
    assert times(other) == [NOW]


class Act(NamedTuple):
    """Something a listener does, `after_ms` the one before.

    `ahead_ms`: how far its time lies ahead of the server's when it arrives; 0: its time is true. `posts`: what was
    done is posted now. `repeats`: so is an earlier post, once more (its number, modulo).
    """

    kind: str
    after_ms: int
    ahead_ms: int
    event_id: UUID
    posts: bool
    repeats: int | None


acts = st.lists(
    st.builds(
        Act,
        kind=st.sampled_from(("liked", "unliked", "started")),
        after_ms=st.integers(1, 3),
        ahead_ms=st.one_of(st.just(0), st.integers(0, 4), st.integers(0, 10 * MINUTE_MS), st.integers(0, 10**18)),
        event_id=st.uuids(),
        posts=st.booleans(),
        repeats=st.none() | st.integers(0, 30),
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda act: act.event_id,
)


def _in_posts(history: Sequence[Act]) -> list[tuple[int, list[tuple[Act, int]]]]:
    """The history cut into posts: when each arrives, and its acts with their true times."""
    posts, outbox, clock = [], [], NOW
    for act in history:
        clock += act.after_ms
        outbox.append((act, clock))
        if act.posts or act is history[-1]:
            posts.append((clock, outbox))
            outbox = []
    return posts


def _played(history: Sequence[Act]) -> list[Stamped]:
    to, posts = stamper(), []
    sent: list[list[dict[str, Any]]] = []
    for clock, done in _in_posts(history):
        sent.append([event(act.kind, clock + act.ahead_ms if act.ahead_ms else at, act.event_id) for act, at in done])
        posts.append(arriving(to, clock, *sent[-1]))
        repeats = done[-1][0].repeats
        if repeats is not None:
            posts.append(arriving(to, clock, *sent[repeats % len(sent)]))
    return posts


@given(history=acts)
def test_any_history_posted_in_order_ends_with_its_latest_event(history: list[Act]) -> None:
    posts = _played(history)
    words = [act.kind for act in history if act.kind != "started"]
    if words:
        assert is_liked(*posts) is (words[-1] == "liked")
    logged = [orjson.loads(value) for post in posts for value in post.values]
    assert all(value["occurred_at"] <= value["received_at"] for value in logged)


@given(history=acts, offset_ms=st.integers(0, 20), flight_ms=st.integers(0, 20))
def test_a_clock_that_is_always_ahead_keeps_the_order_of_what_it_saw(
    history: list[Act], offset_ms: int, flight_ms: int
) -> None:
    """However long posts are under way: some of its times can be true when they arrive, others cannot."""
    to, posts = stamper(), []
    for clock, done in _in_posts(history):
        events = [event(act.kind, at + offset_ms, act.event_id) for act, at in done]
        posts.append(arriving(to, clock + flight_ms, *events))
    words = [act.kind for act in history if act.kind != "started"]
    if words:
        assert is_liked(*posts) is (words[-1] == "liked")
