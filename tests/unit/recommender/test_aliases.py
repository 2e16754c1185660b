"""What was heard, liked or vetoed under an alias counts for its song, as if it had happened under the song's own id."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contracts.fold import Folded, fold
from services.recommender.answering import profile_answer
from services.recommender.catalogue import Catalogue
from services.recommender.profile_views import ProfileView, ProfileViews
from tests.support.histories import history_strategy
from tests.unit.recommender.made_up import LOVED, SKIPPED, VETOED, catalogue_of, profile, song, view

ALIASES = {"a": "a-before", "anidb-1": "song-0", "mal-1": "anime-0"}


def catalogue(*, aliases: bool) -> Catalogue:
    """Songs a, b and anidb-1 of the anime mal-1 and mal-2."""
    songs = [song(1, [1]), song(2, [2]), song(3, [1, 2])]
    named = [each.model_copy(update={"song_id": own}) for each, own in zip(songs, ("a", "b", "anidb-1"), strict=True)]
    if not aliases:
        return catalogue_of(named)
    uses = named[0].appearances[0]
    anime = uses.anime.model_copy(update={"aliases": (ALIASES["mal-1"],)})
    first = named[0].model_copy(
        # "b" is a song's own id: it means that song, whatever the record of another says.
        update={"aliases": (ALIASES["a"], "b"), "appearances": (uses.model_copy(update={"anime": anime}),)}
    )
    return catalogue_of([first, named[1], named[2].model_copy(update={"aliases": (ALIASES["anidb-1"],)})])


def derived(folded: Folded, of: Catalogue, profile_views: ProfileViews) -> ProfileView:
    return profile_views.of(profile(songs=folded.songs, vetoes=folded.vetoes), of)


@given(history=history_strategy(), picks=st.randoms(use_true_random=False))
def test_a_profile_under_aliases_is_the_profile_under_own_ids(history, picks):
    plain, aliased = catalogue(aliases=False), catalogue(aliases=True)
    kept, kept_aliased = (
        ProfileViews(cache_bytes=1 << 24, cold_songs=5),
        ProfileViews(cache_bytes=1 << 24, cold_songs=5),
    )
    logged = [under_an_alias(event) if picks.random() < 0.5 else event for event in history]
    # Step by step, so that what follows from the listener before is compared as well.
    for end in range(1, len(history) + 1):
        own = fold(history[:end])
        asked = fold(logged[:end])
        for user in own:
            expected = derived(replace(own[user]), plain, kept)
            found = derived(replace(asked[user]), aliased, kept_aliased)
            assert found.listener_state == expected.listener_state
            np.testing.assert_array_equal(found.excluded, expected.excluded)


def under_an_alias(event):
    own = {name: getattr(event, name) for name in ("song_id", "anime_id")}
    return event.model_copy(update={name: ALIASES.get(each, each) for name, each in own.items() if each})


def test_a_song_that_was_heard_under_an_alias_is_not_offered_again():
    found = view(catalogue(aliases=True), songs={ALIASES["a"]: LOVED, "b": SKIPPED})
    assert found.listener_state.heard == {"a", "b"} and found.listener_state.liked == {"a"}
    shown = profile_answer(found.profile, found, catalogue(aliases=True), 0)
    assert {(each.song_id, each.title) for each in shown.heard} == {("a", "Song 1"), ("b", "Song 2")}


def test_a_veto_of_an_alias_keeps_the_anime_out_and_can_be_taken_back_under_its_own_id():
    of = catalogue(aliases=True)
    vetoes: Mapping[str, bytes] = {ALIASES["mal-1"]: VETOED}
    assert view(of, vetoes=vetoes).listener_state.vetoed == {"mal-1"}
    later = VETOED[:-1].replace(VETOED[:8], (int.from_bytes(VETOED[:8], "big") + 1).to_bytes(8, "big")) + b"\0"
    assert not view(of, vetoes={**vetoes, "mal-1": later}).listener_state.vetoed


def test_an_id_of_a_song_means_that_song_whoever_has_it_as_an_alias():
    of = catalogue(aliases=True)
    assert of.songs[of.row_of["b"]].song_id == "b" and of.own_ids(["b", "a-before", "x"]) == ("b", "a", "x")


def test_songs_that_share_a_video_are_all_found():
    twins = [song(1, [1], views=1), song(2, [2], views=1)]
    shared = [each.model_copy(update={"links": twins[0].links}) for each in twins]
    assert [each.song_id for each in catalogue_of(shared).find_all("yt-1")] == ["s001", "s002"]
