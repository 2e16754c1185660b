"""The made-up catalogue has the original's shape, says that it is made up, and is the same for the same seed."""

from collections import Counter

import numpy as np
import pytest

from collectors.listeners import AT_HOME, synthetic_listeners
from collectors.synthetic import CLUSTERS, cluster_of, synthetic_songs
from contracts.catalogue import Anime, Song


@pytest.fixture(scope="module")
def songs() -> list[Song]:
    return synthetic_songs()


def test_it_has_the_shape_of_the_original(songs: list[Song]) -> None:
    assert len(songs) == len({song.song_id for song in songs}) == 14_885
    assert len({song.anime.anime_id for song in songs}) == 1_235
    composers = Counter(song.credits.composition for song in songs).most_common()
    assert composers[0][1] > 20 * composers[len(composers) // 2][1]
    views = np.log([song.links[0].views for song in songs if song.links and song.links[0].views])
    assert 0.5 < len(views) / len(songs) < 0.7 and 1.5 < views.std() < 2.5


def test_it_says_that_it_is_made_up(songs: list[Song]) -> None:
    for song in songs[:500]:
        assert song.made_up and "made up" in song.title and "made up" in song.anime.title
        assert song.youtube_id is None and "search" in song.url


def test_names_are_words_that_only_one_has(songs: list[Song]) -> None:
    kinds = [{name for song in songs for name in getattr(song.credits, kind)} for kind in ("vocals", "composition")]
    assert not kinds[0] & kinds[1] and not kinds[0] & {song.anime.title for song in songs}


def test_tags_and_composers_follow_taste(songs: list[Song]) -> None:
    where = [(cluster_of(song), set(song.tags), song.credits.composition) for song in songs[::50]]
    same = [len(a & b) for c, a, _ in where for d, b, _ in where if c == d]
    other = [len(a & b) for c, a, _ in where for d, b, _ in where if c != d]
    assert np.mean(same) > 2 * np.mean(other)
    assert {cluster_of(song) for song in songs} == set(range(CLUSTERS))


def test_the_seed_and_the_size_decide() -> None:
    values = [[song.log_value() for song in synthetic_songs(300, seed)] for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]
    with pytest.raises(ValueError, match="at least 50"):
        synthetic_songs(10)


def test_listeners_like_what_lies_in_their_cluster(songs: list[Song]) -> None:
    listeners = synthetic_listeners(20, seed=3)
    assert [one.user_id for one in listeners] == [one.user_id for one in synthetic_listeners(20, seed=3)]
    one = listeners[0]
    at_home = next(song for song in songs if cluster_of(song) == one.home)
    far = next(song for song in songs if cluster_of(song) == (one.home + 7) % CLUSTERS)
    assert one.like_probability(at_home) > AT_HOME / 2 > one.like_probability(far)
    rng = np.random.default_rng(0)
    assert np.mean([one.watch_ratio(at_home, rng) for _ in range(200)]) > 2 * np.mean(
        [one.watch_ratio(far, rng) for _ in range(200)]
    )
    real = Song(song_id="x", title="x", appearances=({"anime": Anime(anime_id="a", title="a"), "relation": "opening"},))
    with pytest.raises(ValueError, match="not a song of the synthetic"):
        one.like_probability(real)
