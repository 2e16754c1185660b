"""A process reads its own writes, and notices a store that went back."""

from uuid import UUID

from contracts.playlists import ServedPlaylist, ServedSlot
from services.profiles.reader import HistoryEntry
from services.recommender.freshness import ACCEPT_AFTER_MS, Watermarks
from services.recommender.recent import Recent, history_entry
from tests.unit.recommender.made_up import WHEN, profile


def served(number: int, revision: int = 0, *, user_id: str = "u", song: str = "a", at: int = 0) -> ServedPlaylist:
    slot = ServedSlot(slot=0, song_id=song, anime_id="x", arm="random", p_arm=1, p_song=1, score=0)
    return ServedPlaylist(
        playlist_id=UUID(int=number),
        revision=revision,
        user_id=user_id,
        served_at=WHEN + (at or number),
        slots=(slot,),
        picks=("random",),
        reflects={},
        profile_digest="0" * 32,
        fresh=True,
    )


def songs(recent: Recent, *stored: HistoryEntry) -> list[tuple[str, ...]]:
    return [entry.songs for entry in recent.history("u", stored)]


def test_own_playlists_are_history_before_the_store_shows_them():
    recent = Recent()
    recent.add(served(2, song="b"))
    recent.add(served(3, user_id="other", song="z"))
    stored = history_entry(served(1, song="a"))
    assert songs(recent, stored) == [("a",), ("b",)]


def test_the_higher_revision_counts_wherever_it_is():
    recent = Recent()
    recent.add(served(1, revision=1, song="new"))
    assert songs(recent, history_entry(served(1, revision=0, song="old"))) == [("new",)]
    assert songs(recent, history_entry(served(1, revision=2, song="newest"))) == [("newest",)]
    assert songs(recent) == []


def test_an_older_revision_does_not_replace_a_newer_one():
    recent = Recent()
    recent.add(served(1, revision=2))
    recent.add(served(1, revision=1))
    assert recent.playlist(UUID(int=1)).revision == 2


def test_the_oldest_are_dropped():
    recent = Recent(cache_bytes=50_000)
    for number in range(50):
        recent.add(served(number, user_id=f"u{number}"))
    assert recent.playlist(UUID(int=1)) is None
    assert recent.playlist(UUID(int=49)) is not None
    assert recent.history("u0", ()) == []


def test_a_store_that_went_back_is_not_fresh_until_it_has_caught_up():
    now = WHEN
    marks = Watermarks(lambda: now)
    assert marks.advance("u", profile(marks={"log/0": 10}))
    assert marks.advance("u", profile(marks={"log/0": 12}))
    assert not marks.advance("u", profile(marks={"log/0": 3}))
    assert not marks.advance("u", profile(marks={}))
    assert marks.advance("u", profile(marks={"log/0": 12, "other/0": 1}))
    assert marks.advance("u", profile(generation="g2", marks={}))


def test_a_store_that_stays_behind_is_accepted():
    now = WHEN
    marks = Watermarks(lambda: now)
    assert marks.advance("u", profile(marks={"gone/0": 10}))
    assert not marks.advance("u", profile(marks={"new/0": 1}))
    now += ACCEPT_AFTER_MS + 1
    assert not marks.advance("u", profile(marks={"new/0": 1}))
    assert marks.advance("u", profile(marks={"new/0": 1}))
