"""What is shown again and again and never started rests."""

from hypothesis import example, given
from hypothesis import strategies as st

from services.recommender.eligible import resting


def rule(playlists):
    return resting(playlists, after_shown=3, rest=10)


def test_the_third_showing_makes_a_song_rest_for_ten_playlists():
    history = [{"a"}, {"a"}, {"b"}]
    assert rule(history) == frozenset()
    history.append({"a"})
    for _ in range(10):
        assert rule(history) == {"a"}
        history.append(set())
    assert "a" not in rule(history)


def test_it_counts_anew_after_the_rest():
    history = [{"a"}] * 3 + [set()] * 10 + [{"a"}] * 2
    assert "a" not in rule(history)
    assert "a" in rule([*history, {"a"}])


def test_a_song_twice_in_one_playlist_counts_once():
    assert rule([["a", "a", "a"]]) == frozenset()


def test_nothing_rests_when_the_rest_is_none():
    assert resting([{"a"}] * 5, after_shown=3, rest=0) == frozenset()


# The window loses playlist 0 at 41: counted from playlist 18 on, those of 39 and 40 are showings of a song that rests.
@example([frozenset("a") if at in (0, 18, 19, 30, 39, 40, 41, 42) else frozenset() for at in range(43)])
@given(st.lists(st.frozensets(st.sampled_from("abcde"), max_size=3), max_size=90))
def test_a_listener_who_starts_nothing_sees_each_song_rest_and_come_back(served):
    """No song of a playlist rests at its time, so none is ever shown more than three times in any eleven."""
    history: list[frozenset[str]] = []
    for songs in served:
        history.append(songs - rule(history))
    for at in range(len(history)):
        window = history[at : at + 11]
        assert all(sum(song in playlist for playlist in window) <= 3 for song in "abcde")
