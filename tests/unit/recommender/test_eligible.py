"""Which songs may be picked, and which reasons are lifted when none is left."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.recommender.eligible import eligible, exclusions, updated_exclusions
from tests.unit.recommender.made_up import catalogue_of, listener_state, mixed_songs, song

CATALOGUE = catalogue_of(mixed_songs(20, 6))
SONGS = [entry.song_id for entry in CATALOGUE.songs]
ANIME = [anime.anime_id for anime in CATALOGUE.anime]

songs = st.frozensets(st.sampled_from(SONGS))
anime = st.frozensets(st.sampled_from(ANIME), max_size=4)


def of_anime(anime_ids: frozenset[str]) -> set[str]:
    return {entry.song_id for entry in CATALOGUE.songs if anime_ids & {each.anime_id for each in entry.anime}}


def named(mask: np.ndarray) -> set[str]:
    return {SONGS[row] for row in np.flatnonzero(mask)}


@given(heard=songs, resting=songs, vetoed=anime, out=anime, taken=st.lists(st.sampled_from(range(20)), max_size=2))
def test_reasons_are_lifted_in_turn_and_a_veto_never(heard, resting, vetoed, out, taken):
    excluded = exclusions(CATALOGUE, listener_state(heard=heard, vetoed=vetoed, blacklisted=out))
    found = eligible(CATALOGUE, excluded, resting, taken)
    held = frozenset(each.anime_id for row in taken for each in CATALOGUE.songs[row].anime)
    free = set(SONGS) - of_anime(vetoed) - of_anime(held)
    steps = {
        "nothing": free - heard - of_anime(out) - resting,
        "resting": free - heard - of_anime(out),
        "blacklisted": free - heard,
        "heard": free,
    }
    left = next((name for name, left in steps.items() if left), "nothing")
    assert found.lifted == left
    assert named(found.mask) == steps[left]
    assert not named(found.mask) & of_anime(vetoed)


@given(steps=st.lists(st.tuples(songs, anime, anime), min_size=2, max_size=6))
def test_exclusions_that_follow_a_change_are_those_from_scratch(steps):
    states = [listener_state(heard=heard, vetoed=vetoed, blacklisted=out) for heard, vetoed, out in steps]
    flags = exclusions(CATALOGUE, states[0])
    for old, new in pairwise(states):
        kept = flags.copy()
        following = updated_exclusions(CATALOGUE, flags, old, new)
        np.testing.assert_array_equal(flags, kept)
        np.testing.assert_array_equal(following, exclusions(CATALOGUE, new))
        flags = following


def test_a_veto_reaches_every_song_of_the_anime_wherever_it_is_shown():
    catalogue = catalogue_of([song(1, [1, 2]), song(2, [1]), song(3, [2])])
    excluded = exclusions(catalogue, listener_state(vetoed=frozenset({"mal-2"})))
    assert eligible(catalogue, excluded).mask.tolist() == [False, True, False]


def test_ids_outside_the_catalogue_exclude_nothing():
    catalogue = catalogue_of([song(1, [1])])
    excluded = exclusions(catalogue, listener_state(heard=frozenset({"gone"}), vetoed=frozenset({"mal-9"})))
    assert eligible(catalogue, excluded, ["gone"]).mask.tolist() == [True]


def test_everything_vetoed_leaves_nothing():
    catalogue = catalogue_of([song(1, [1])])
    excluded = exclusions(catalogue, listener_state(vetoed=frozenset({"mal-1"})))
    assert not eligible(catalogue, excluded).mask.any()
