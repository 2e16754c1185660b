"""Incremental derivation equals full derivation, for any changes in any order."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from contracts.derive import derive
from contracts.fold import Folded, fold
from contracts.rederive import Derived, derive_full, derive_incrementally
from contracts.registers import LIKED, SETTLED, STARTED, VETO, WATCHED
from tests.support.histories import history_strategy

SONGS = [f"s{n}" for n in range(9)]
ANIME_OF = {
    "s0": ("a", "b"),
    "s1": ("a",),
    "s2": ("b", "c"),
    "s3": ("c",),
    "s4": ("a", "c", "d"),
    "s5": ("d",),
    "s6": (),
}

_ids = st.sampled_from((bytes(16), b"\x01" * 16))
_times = st.sampled_from((1, 2, 3))
packed = st.builds(
    lambda *parts: b"".join(parts),
    st.sampled_from(
        (WATCHED.identity, WATCHED.encode(0, 0, 9), WATCHED.encode(500_000, 1, 2), WATCHED.encode(9**6, 1, 2))
    ),
    st.one_of(st.just(LIKED.identity), st.builds(LIKED.encode, _times, _ids, st.booleans())),
    st.one_of(st.just(STARTED.identity), st.builds(STARTED.encode, _times, _ids)),
    st.one_of(st.just(SETTLED.identity), st.builds(SETTLED.encode, _times, _ids)),
)
vetoes = st.dictionaries(st.sampled_from("abc"), st.builds(VETO.encode, _times, _ids, st.booleans()))
some_songs = st.dictionaries(st.sampled_from(SONGS), packed)
one_change = st.tuples(st.sampled_from(SONGS), st.none() | packed)


def check(derived: Derived) -> None:
    """It is what deriving from everything gives."""
    assert derived.listener_state == derive(derived.songs, derived.vetoes, ANIME_OF)
    settled = [anime for song in derived.listener_state.settled for anime in ANIME_OF.get(song, ())]
    assert derived.counted == Counter(settled)


@given(some_songs, st.lists(st.tuples(st.lists(one_change, max_size=3), st.none() | vetoes), max_size=8), st.booleans())
def test_any_songs_changed_added_or_taken_away(songs, steps, told):
    derived = derive_full(songs, {}, ANIME_OF)
    for changes, vetoed in steps:
        songs = dict(songs)
        for song, value in changes:
            if value is None:
                songs.pop(song, None)
            else:
                songs[song] = value
        changed_songs = {song for song, _ in changes} if told else None
        derived = derive_incrementally(derived, songs, derived.vetoes if vetoed is None else vetoed, changed_songs)
        check(derived)


@given(history_strategy(40))
def test_event_by_event(events):
    derived = derive_full({}, {}, ANIME_OF)
    for end in range(len(events) + 1):
        folded = fold(events[:end]).get("u1", Folded())
        derived = derive_incrementally(derived, folded.songs, folded.vetoes)
        check(derived)


def test_what_did_not_change_is_the_same_object():
    liked = WATCHED.identity + LIKED.encode(1, bytes(16), 1) + STARTED.identity + SETTLED.encode(1, bytes(16))
    songs = {f"s{n}": liked for n in range(8)}
    before = derive_full(songs, {}, ANIME_OF)
    later = liked[: -SETTLED.width] + SETTLED.encode(2, bytes(16))
    after = derive_incrementally(before, {**songs, "s3": later}, {})
    assert after.listener_state.favoured is before.listener_state.favoured
    assert after.listener_state.heard is before.listener_state.heard
