"""Whole playlists: new ones, and the rest of one picked again."""

import numpy as np
import pytest

from contracts.arms import ARMS, PAPER_ORDER
from contracts.profiles import AnimeEntry
from services.recommender.profile_views import ProfileViews
from services.recommender.snapshots import CatalogueSnapshot
from tests.unit.recommender.made_up import (
    LOVED,
    SKIPPED,
    VETOED,
    composer,
    context,
    packed,
    profile,
    view,
)


def test_a_playlist_has_one_song_of_every_arm(snapshot: CatalogueSnapshot):
    playlist = composer().new(snapshot, view(snapshot.catalogue), context()).playlist
    assert {slot.arm for slot in playlist.slots} == set(ARMS)
    assert [slot.slot for slot in playlist.slots] == list(range(6))
    assert sorted(playlist.picks) == sorted(ARMS)
    assert len({slot.song_id for slot in playlist.slots}) == 6
    assert all(slot.p_arm == pytest.approx(1 / 6) for slot in playlist.slots)
    assert all(slot.p_song == 1.0 for slot in playlist.slots if slot.arm != "random")
    assert {slot.arm: slot.model_version for slot in playlist.slots}["mpnet"] == snapshot.models["mpnet"].version
    assert playlist.cold == "mean"
    assert playlist.left_out == {}


def test_a_random_song_has_the_probability_among_the_open_songs(snapshot: CatalogueSnapshot):
    maker, someone = composer(seed=4), view(snapshot.catalogue)
    for number in range(40):
        playlist = maker.new(snapshot, someone, context(number)).playlist
        songs = {slot.arm: slot for slot in playlist.slots}
        is_open = np.ones(len(snapshot.catalogue), dtype=bool)
        for arm in playlist.picks[: playlist.picks.index("random")]:
            snapshot.catalogue.block_with_its_anime(is_open, snapshot.catalogue.row_of[songs[arm].song_id])
        assert songs["random"].p_song == pytest.approx(1 / is_open.sum())


def test_the_papers_order_is_fixed(snapshot: CatalogueSnapshot):
    playlist = composer(order="fixed").new(snapshot, view(snapshot.catalogue), context()).playlist
    assert tuple(slot.arm for slot in playlist.slots) == PAPER_ORDER == playlist.picks
    assert {slot.p_arm for slot in playlist.slots} == {1.0}


def test_heard_vetoed_and_blacklisted_songs_are_not_picked(snapshot: CatalogueSnapshot):
    heard = {f"s{n:03d}": LOVED for n in range(6)} | {"s020": SKIPPED}
    someone = view(snapshot.catalogue, songs=heard, vetoes={"mal-1": VETOED})
    assert "mal-6" in someone.listener_state.blacklisted
    maker = composer()
    for number in range(30):
        for slot in maker.new(snapshot, someone, context(number)).playlist.slots:
            anime = snapshot.catalogue.anime_of[slot.song_id]
            assert slot.song_id not in heard
            assert not {"mal-1", "mal-6"} & set(anime)


def test_a_listener_who_heard_everything_hears_it_again_but_no_veto(snapshot: CatalogueSnapshot):
    heard = {entry.song_id: LOVED for entry in snapshot.catalogue.songs}
    composed = composer().new(snapshot, view(snapshot.catalogue, songs=heard, vetoes={"mal-1": VETOED}), context())
    assert composed.lifted == "heard"
    assert len(composed.playlist.slots) == 6
    assert all("mal-1" not in snapshot.catalogue.anime_of[slot.song_id] for slot in composed.playlist.slots)


def test_resting_songs_are_not_picked(snapshot: CatalogueSnapshot):
    maker, someone = composer(), view(snapshot.catalogue)
    first = {slot.song_id for slot in maker.new(snapshot, someone, context(1)).playlist.slots if slot.arm != "random"}
    second = {slot.song_id for slot in maker.new(snapshot, someone, context(2, resting=first)).playlist.slots}
    assert not first & second


def test_the_rest_keeps_what_came_before_and_every_arm_keeps_its_slot(snapshot: CatalogueSnapshot):
    maker, someone = composer(seed=2), view(snapshot.catalogue)
    first = maker.new(snapshot, someone, context()).playlist
    skipped = view(snapshot.catalogue, songs={first.slots[1].song_id: SKIPPED, first.slots[3].song_id: LOVED})
    again = maker.rest(snapshot, skipped, context(1, revision=1), first, 2).playlist
    assert [(slot.slot, slot.arm, slot.p_arm) for slot in again.slots] == [
        (slot.slot, slot.arm, slot.p_arm) for slot in first.slots
    ]
    assert [slot.kept for slot in again.slots] == [True, True, False, False, False, False]
    assert [slot.song_id for slot in again.slots[:2]] == [slot.song_id for slot in first.slots[:2]]
    assert first.slots[3].song_id in again.withdrawn
    songs = {slot.song_id for slot in again.slots}
    assert len(songs) == 6
    assert not songs & set(again.withdrawn)
    assert set(again.withdrawn) | songs >= {slot.song_id for slot in first.slots}
    assert set(again.picks) == {slot.arm for slot in first.slots[2:]}
    assert again.from_slot == 2


def test_no_anime_of_a_kept_slot_comes_again(snapshot: CatalogueSnapshot):
    maker, someone = composer(seed=9), view(snapshot.catalogue)
    playlist = maker.new(snapshot, someone, context()).playlist
    for revision in range(1, 30):
        playlist = maker.rest(snapshot, someone, context(1, revision), playlist, 1 + revision % 5).playlist
        anime = [each for slot in playlist.slots for each in snapshot.catalogue.anime_of[slot.song_id]]
        assert len(set(anime)) == len(anime)


def test_an_arm_that_has_nothing_any_more_leaves_its_slot_empty(snapshot: CatalogueSnapshot):
    maker, someone = composer(), view(snapshot.catalogue)
    first = maker.new(snapshot, someone, context()).playlist
    at = next(slot.slot for slot in first.slots if slot.arm == "mpnet")
    without = CatalogueSnapshot(
        snapshot.catalogue, {arm: b for arm, b in snapshot.models.items() if arm != "mpnet"}, {"mpnet": "gone"}
    )
    again = maker.rest(without, someone, context(1, 1), first, 0).playlist
    assert [slot.slot for slot in again.slots] == [n for n in range(6) if n != at]
    assert again.left_out == {"mpnet": "gone"}


def test_left_out_arms_leave_the_others_equal_chances(snapshot: CatalogueSnapshot):
    composed = composer().new(CatalogueSnapshot(snapshot.catalogue), view(snapshot.catalogue), context())
    assert {slot.arm for slot in composed.playlist.slots} == {"popular", "random"}
    assert {slot.p_arm for slot in composed.playlist.slots} == {0.5}
    assert set(composed.playlist.left_out) == {"mpnet", "minilm", "node2vec", "tfidf"}


def test_the_cold_start_and_its_songs_are_logged(snapshot: CatalogueSnapshot):
    maker, entries = composer(), (AnimeEntry(mal_id=2), AnimeEntry(mal_id=3))
    listed = maker.new(snapshot, view(snapshot.catalogue, anime_list=entries), context()).playlist
    assert (listed.cold, listed.cold_weight) == ("list", 1.0)
    assert all({"mal-2", "mal-3"} & set(snapshot.catalogue.anime_of[each]) for each in listed.cold_songs)
    fading = view(snapshot.catalogue, anime_list=entries, songs={"s001": LOVED})
    assert maker.new(snapshot, fading, context()).playlist.cold_weight == pytest.approx(5 / 6)
    papers = composer(cold_mode="paper").new(snapshot, fading, context()).playlist
    assert (papers.cold, papers.cold_weight, papers.cold_songs) == (None, 0.0, ())
    adapted = maker.new(snapshot, view(snapshot.catalogue, songs={"s001": LOVED}), context()).playlist
    assert (adapted.cold, adapted.cold_weight) == (None, 0.0)


def test_a_song_that_plays_now_is_heard_and_not_disliked(snapshot: CatalogueSnapshot):
    someone = view(snapshot.catalogue, songs={"s001": packed(started=5)})
    assert someone.listener_state.blacklisted == frozenset()
    assert not (someone.excluded == 0)[snapshot.catalogue.row_of["s001"]]


def test_no_heard_song_returns_in_a_long_session(snapshot: CatalogueSnapshot):
    """A listener who hears every first slot and never comes back to it, until nothing is left."""
    maker, heard = composer(seed=11), {}
    for number in range(len(snapshot.catalogue)):
        playlist = maker.new(snapshot, view(snapshot.catalogue, songs=dict(heard)), context(number)).playlist
        assert not {slot.song_id for slot in playlist.slots} & set(heard)
        heard[playlist.slots[0].song_id] = LOVED
    assert len(heard) == len(snapshot.catalogue)


def test_the_nearest_songs_are_queried_once_while_favourites_stay(snapshot: CatalogueSnapshot):
    maker, profile_views, loved = composer(seed=5), ProfileViews(cache_bytes=1 << 24, cold_songs=20), {"s001": LOVED}

    def after(number: int, songs: dict[str, bytes]):
        return maker.new(snapshot, profile_views.of(profile(songs=songs), snapshot.catalogue), context(number))

    assert after(1, loved).queries["mpnet"] == 1
    skipped = after(2, {**loved, "s002": SKIPPED, "s003": SKIPPED})
    assert "mpnet" not in skipped.queries
    assert not {"s001", "s002", "s003"} & {slot.song_id for slot in skipped.playlist.slots}
    assert after(3, {**loved, "s020": LOVED}).queries["mpnet"] == 1
