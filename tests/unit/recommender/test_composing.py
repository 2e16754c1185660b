"""Whole playlists: new ones, and the rest of one picked again."""

import numpy as np
import pytest

from contracts.arms import ARMS, PAPER_ORDER
from contracts.profiles import AnimeEntry
from services.recommender.library import World
from services.recommender.listeners import Listeners
from tests.unit.recommender.worlds import (
    LOVED,
    SKIPPED,
    VETOED,
    composer,
    listener,
    moment,
    packed,
    profile,
)


def test_a_playlist_has_one_song_of_every_arm(world: World):
    playlist = composer().new(world, listener(world.catalogue), moment()).playlist
    assert {slot.arm for slot in playlist.slots} == set(ARMS)
    assert [slot.slot for slot in playlist.slots] == list(range(6))
    assert sorted(playlist.picks) == sorted(ARMS)
    assert len({slot.song_id for slot in playlist.slots}) == 6
    assert all(slot.p_arm == pytest.approx(1 / 6) for slot in playlist.slots)
    assert all(slot.p_song == 1.0 for slot in playlist.slots if slot.arm != "random")
    assert {slot.arm: slot.model_version for slot in playlist.slots}["mpnet"] == world.models["mpnet"].version
    assert playlist.cold == "mean"
    assert playlist.left_out == {}


def test_the_chance_of_a_random_song_is_that_of_what_the_earlier_picks_left(world: World):
    maker, someone = composer(seed=4), listener(world.catalogue)
    for number in range(40):
        playlist = maker.new(world, someone, moment(number)).playlist
        songs = {slot.arm: slot for slot in playlist.slots}
        is_open = np.ones(len(world.catalogue), dtype=bool)
        for arm in playlist.picks[: playlist.picks.index("random")]:
            world.catalogue.block_with_its_anime(is_open, world.catalogue.row_of[songs[arm].song_id])
        assert songs["random"].p_song == pytest.approx(1 / is_open.sum())


def test_the_papers_order_is_fixed(world: World):
    playlist = composer(order="fixed").new(world, listener(world.catalogue), moment()).playlist
    assert tuple(slot.arm for slot in playlist.slots) == PAPER_ORDER == playlist.picks
    assert {slot.p_arm for slot in playlist.slots} == {1.0}


def test_what_was_heard_vetoed_or_out_of_favour_does_not_come(world: World):
    heard = {f"s{n:03d}": LOVED for n in range(6)} | {"s020": SKIPPED}
    someone = listener(world.catalogue, songs=heard, vetoes={"mal-1": VETOED})
    assert "mal-6" in someone.standing.out_of_favour
    maker = composer()
    for number in range(30):
        for slot in maker.new(world, someone, moment(number)).playlist.slots:
            anime = world.catalogue.anime_of[slot.song_id]
            assert slot.song_id not in heard
            assert not {"mal-1", "mal-6"} & set(anime)


def test_a_listener_who_heard_everything_hears_it_again_but_no_veto(world: World):
    heard = {entry.song_id: LOVED for entry in world.catalogue.entries}
    composed = composer().new(world, listener(world.catalogue, songs=heard, vetoes={"mal-1": VETOED}), moment())
    assert composed.lifted == "heard"
    assert len(composed.playlist.slots) == 6
    assert all("mal-1" not in world.catalogue.anime_of[slot.song_id] for slot in composed.playlist.slots)


def test_resting_songs_do_not_come(world: World):
    maker, someone = composer(), listener(world.catalogue)
    first = {slot.song_id for slot in maker.new(world, someone, moment(1)).playlist.slots if slot.arm != "random"}
    second = {slot.song_id for slot in maker.new(world, someone, moment(2, resting=first)).playlist.slots}
    assert not first & second


def test_the_rest_keeps_what_came_before_and_every_arm_keeps_its_slot(world: World):
    maker, someone = composer(seed=2), listener(world.catalogue)
    first = maker.new(world, someone, moment()).playlist
    skipped = listener(world.catalogue, songs={first.slots[1].song_id: SKIPPED, first.slots[3].song_id: LOVED})
    again = maker.rest(world, skipped, moment(1, revision=1), first, 2).playlist
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


def test_no_anime_of_a_kept_slot_comes_again(world: World):
    maker, someone = composer(seed=9), listener(world.catalogue)
    playlist = maker.new(world, someone, moment()).playlist
    for revision in range(1, 30):
        playlist = maker.rest(world, someone, moment(1, revision), playlist, 1 + revision % 5).playlist
        anime = [each for slot in playlist.slots for each in world.catalogue.anime_of[slot.song_id]]
        assert len(set(anime)) == len(anime)


def test_an_arm_that_has_nothing_any_more_leaves_its_slot_empty(world: World):
    maker, someone = composer(), listener(world.catalogue)
    first = maker.new(world, someone, moment()).playlist
    at = next(slot.slot for slot in first.slots if slot.arm == "mpnet")
    without = World(world.catalogue, {arm: b for arm, b in world.models.items() if arm != "mpnet"}, {"mpnet": "gone"})
    again = maker.rest(without, someone, moment(1, 1), first, 0).playlist
    assert [slot.slot for slot in again.slots] == [n for n in range(6) if n != at]
    assert again.left_out == {"mpnet": "gone"}


def test_left_out_arms_leave_the_others_equal_chances(world: World):
    composed = composer().new(World(world.catalogue), listener(world.catalogue), moment())
    assert {slot.arm for slot in composed.playlist.slots} == {"popular", "random"}
    assert {slot.p_arm for slot in composed.playlist.slots} == {0.5}
    assert set(composed.playlist.left_out) == {"mpnet", "minilm", "node2vec", "tfidf"}


def test_how_cold_a_listener_is_and_which_songs_stood_in(world: World):
    maker, entries = composer(), (AnimeEntry(mal_id=2), AnimeEntry(mal_id=3))
    listed = maker.new(world, listener(world.catalogue, anime_list=entries), moment()).playlist
    assert (listed.cold, listed.cold_weight) == ("list", 1.0)
    assert all({"mal-2", "mal-3"} & set(world.catalogue.anime_of[each]) for each in listed.cold_songs)
    fading = listener(world.catalogue, anime_list=entries, songs={"s001": LOVED})
    assert maker.new(world, fading, moment()).playlist.cold_weight == pytest.approx(5 / 6)
    papers = composer(cold_mode="paper").new(world, fading, moment()).playlist
    assert (papers.cold, papers.cold_weight, papers.cold_songs) == (None, 0.0, ())
    adapted = maker.new(world, listener(world.catalogue, songs={"s001": LOVED}), moment()).playlist
    assert (adapted.cold, adapted.cold_weight) == (None, 0.0)


def test_a_song_that_plays_now_is_heard_and_not_disliked(world: World):
    someone = listener(world.catalogue, songs={"s001": packed(started=5)})
    assert someone.standing.out_of_favour == frozenset()
    assert not (someone.refused == 0)[world.catalogue.row_of["s001"]]


def test_no_heard_song_returns_in_a_long_session(world: World):
    """A listener who hears every first slot and never comes back to it, until nothing is left."""
    maker, heard = composer(seed=11), {}
    for number in range(len(world.catalogue)):
        playlist = maker.new(world, listener(world.catalogue, songs=dict(heard)), moment(number)).playlist
        assert not {slot.song_id for slot in playlist.slots} & set(heard)
        heard[playlist.slots[0].song_id] = LOVED
    assert len(heard) == len(world.catalogue)


def test_the_nearest_songs_are_asked_for_once_while_favourites_stay(world: World):
    maker, listeners, loved = composer(seed=5), Listeners(kept=10, cold_songs=20), {"s001": LOVED}

    def after(number: int, songs: dict[str, bytes]):
        return maker.new(world, listeners.of(profile(songs=songs), world.catalogue), moment(number))

    assert after(1, loved).queries["mpnet"] == 1
    skipped = after(2, {**loved, "s002": SKIPPED, "s003": SKIPPED})
    assert "mpnet" not in skipped.queries
    assert not {"s001", "s002", "s003"} & {slot.song_id for slot in skipped.playlist.slots}
    assert after(3, {**loved, "s020": LOVED}).queries["mpnet"] == 1
