"""Songs of the anime list replace likes."""

from collections import Counter

import pytest
from scipy.stats import chisquare

from contracts.profiles import AnimeEntry
from services.recommender.cold_start import cold_start, songs_of_list, weight_of_list
from tests.unit.recommender.made_up import catalogue_of, mixed_songs, song

CATALOGUE = catalogue_of(mixed_songs(60, 12))


def listed(*mal_ids: int) -> tuple[AnimeEntry, ...]:
    return tuple(AnimeEntry(mal_id=mal_id) for mal_id in mal_ids)


def test_the_songs_are_of_the_list_and_the_same_for_the_same_list():
    drawn = songs_of_list(CATALOGUE, listed(1, 2, 3, 4, 99_999), 10)
    assert len(set(drawn)) == 10
    assert all({"mal-1", "mal-2", "mal-3", "mal-4"} & set(CATALOGUE.anime_of[each]) for each in drawn)
    assert songs_of_list(CATALOGUE, listed(4, 3, 99_999, 2, 1), 10) == drawn
    assert songs_of_list(CATALOGUE, listed(1, 2, 3, 5), 10) != drawn


def test_a_short_list_gives_all_that_it_has_and_an_unknown_one_nothing():
    assert songs_of_list(catalogue_of([song(1, [1]), song(2, [2])]), listed(1), 20) == ("s001",)
    assert songs_of_list(CATALOGUE, listed(99_999), 20) == ()


def test_a_new_song_takes_at_most_one_place():
    more = catalogue_of([*mixed_songs(60, 12), song(900, [1])])
    before, after = (set(songs_of_list(each, listed(1, 2, 3), 8)) for each in (CATALOGUE, more))
    assert len(before - after) <= 1


def test_songs_are_drawn_uniformly():
    many = catalogue_of([song(n, [1]) for n in range(10)])
    lists = [listed(1, 1_000 + n) for n in range(4_000)]
    counts = Counter(each for entries in lists for each in songs_of_list(many, entries, 3))
    assert len(counts) == 10
    assert chisquare(list(counts.values())).pvalue > 0.01


@pytest.mark.parametrize(("favoured", "fading", "paper"), [(0, 1.0, 1.0), (5, 0.5, 0.0), (45, 0.1, 0.0)])
def test_the_list_fades_as_favourites_come_in(favoured: int, fading: float, paper: float):
    assert weight_of_list(favoured, "fade") == pytest.approx(fading)
    assert weight_of_list(favoured, "paper") == pytest.approx(paper)
    assert cold_start((), favoured, "fade").weight == 0.0
