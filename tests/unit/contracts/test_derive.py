"""The state of a listener, by examples worked by hand."""

import pytest
from hypothesis import given

from contracts.derive import ListenerState, derive
from contracts.fold import Folded, fold, watched_value
from contracts.registers import LIKED, SERVED_IDENTITY, SERVED_SLICES, SETTLED, STARTED, VETO
from tests.support.histories import BASE_MS, history_strategy

ONE_ANIME = dict.fromkeys("abcdef", ("mal-1",))


def packed(
    *,
    watch: tuple[int, int] | None = None,
    liked: int | None = None,
    started: int | None = None,
    settled: int | None = None,
) -> bytes:
    """A song's registers: `watch` (ms of ms), `liked` 0 or 1, times after BASE_MS."""
    value = bytearray(SERVED_IDENTITY)
    if watch is not None:
        value[SERVED_SLICES["watched"]] = watched_value(*watch)
    if liked is not None:
        value[SERVED_SLICES["liked"]] = LIKED.encode(BASE_MS, bytes(16), liked)
    if started is not None:
        value[SERVED_SLICES["started"]] = STARTED.encode(BASE_MS + started, bytes(16))
    if settled is not None:
        value[SERVED_SLICES["settled"]] = SETTLED.encode(BASE_MS + settled, bytes(16))
    return bytes(value)


def listener_state(
    songs: dict[str, bytes], anime_of=ONE_ANIME, vetoes: dict[str, bytes] | None = None
) -> ListenerState:
    """derive with one anime for all songs."""
    return derive(songs, vetoes or {}, anime_of)


def test_nothing_is_known_of_a_new_listener():
    empty = frozenset[str]()
    assert listener_state({}) == ListenerState(empty, empty, empty, empty, empty, {}, empty, None)


def test_heard_is_whatever_was_watched_started_or_settled():
    songs = {"a": packed(watch=(0, 1)), "b": packed(started=1), "c": packed(settled=1), "d": packed(liked=0)}
    assert listener_state(songs).heard == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("registers", "favoured"),
    [
        ({"watch": (500_000, 1_000_000)}, False),
        ({"watch": (500_001, 1_000_000)}, True),
        ({"watch": (1, 2)}, False),
        ({"liked": 1}, True),
        ({"liked": 0}, False),
        ({"liked": 0, "watch": (3, 4)}, True),
    ],
)
def test_favoured_is_liked_or_more_than_half_watched(registers, favoured):
    assert ("a" in listener_state({"a": packed(**registers)}).favoured) is favoured


def test_an_unliked_song_is_not_liked():
    assert listener_state({"a": packed(liked=0), "b": packed(liked=1)}).liked == {"b"}


def test_the_song_that_is_playing_is_not_disliked_yet():
    first = {"a": packed(started=1)}
    assert listener_state(first).favourability == {}
    assert listener_state(first).latest_started == "a"
    both = listener_state({"a": packed(started=1), "b": packed(started=2)})
    assert both.settled == {"a"}
    assert both.favourability == {"mal-1": -1}
    assert both.blacklisted == {"mal-1"}


def test_the_latest_started_counts_once_it_is_settled():
    skipped = listener_state({"a": packed(started=1, settled=2)})
    assert skipped.latest_started == "a"
    assert skipped.blacklisted == {"mal-1"}


def test_watching_alone_settles_nothing():
    assert listener_state({"a": packed(watch=(1, 9))}).settled == frozenset()


def test_favourability_is_favoured_less_not_favoured_over_settled_songs():
    songs = {
        "a": packed(settled=1, liked=1),
        "b": packed(settled=2, watch=(9, 10)),
        "c": packed(settled=3, watch=(1, 10)),
        "d": packed(started=4, liked=1),
    }
    anime_of = {"a": ("mal-1", "mal-2"), "b": ("mal-1",), "c": ("mal-1", "mal-3"), "d": ("mal-3",)}
    result = listener_state(songs, anime_of)
    assert result.favourability == {"mal-1": 1, "mal-2": 1, "mal-3": -1}
    assert result.blacklisted == {"mal-3"}


def test_zero_favourability_is_not_blacklisted():
    songs = {"a": packed(settled=1, liked=1), "b": packed(settled=2)}
    assert listener_state(songs).favourability == {"mal-1": 0}
    assert listener_state(songs).blacklisted == frozenset()


def test_a_song_that_the_catalogue_does_not_know_is_heard_and_counts_for_no_anime():
    result = listener_state({"x": packed(settled=1)}, {})
    assert result.heard == {"x"}
    assert result.favourability == {}


def test_only_a_veto_that_was_not_undone_counts():
    vetoes = {"mal-1": VETO.encode(BASE_MS, bytes(16), 1), "mal-2": VETO.encode(BASE_MS, bytes(16), 0)}
    assert listener_state({}, vetoes=vetoes).vetoed == {"mal-1"}


def test_of_two_songs_started_in_the_same_event_the_higher_id_is_the_latest():
    assert listener_state({"b": packed(started=1), "a": packed(started=1)}).latest_started == "b"


@given(history_strategy())
def test_it_agrees_with_the_registers_read_one_by_one(events):
    folded = fold(events).get("u1", Folded())
    result = derive(folded.songs, folded.vetoes, {})
    decoded = {
        song: {name: any(value[part]) for name, part in SERVED_SLICES.items()} for song, value in folded.songs.items()
    }
    assert result.heard == {s for s, r in decoded.items() if r["watched"] or r["started"] or r["settled"]}
    assert result.liked == {
        s for s, v in folded.songs.items() if (LIKED.decode(v[SERVED_SLICES["liked"]]) or {}).get("value")
    }
    assert result.settled <= result.heard
    assert result.liked <= result.favoured
