"""The catalogue as arrays, and finding things in it."""

import numpy as np
import pytest

from contracts.catalogue import Anime, Appearance, Link, Song, WithdrawnSong
from services.recommender.catalogue import build_catalogue
from services.recommender.catalogue_song import UnreadableSong, read_song
from tests.unit.recommender.made_up import catalogue_of, mixed_songs, song


def ids(catalogue, rows):
    return [catalogue.songs[row].song_id for row in rows]


def test_popularity_is_views_then_rank_then_id():
    def ranked(number: int, rank: int | None) -> Song:
        made = song(number, [number])
        anime = made.anime.model_copy(update={"popularity": rank})
        return made.model_copy(update={"appearances": (Appearance(anime=anime, relation="opening"),)})

    songs = [song(1, [1], views=10), song(2, [2], views=938_066), song(3, [3], views=0)]
    songs += [ranked(4, None), ranked(5, 7), ranked(6, 7), ranked(7, 2)]
    catalogue = catalogue_of(songs)
    assert ids(catalogue, catalogue.by_popularity) == ["s002", "s001", "s003", "s007", "s005", "s006", "s004"]


def test_a_song_belongs_to_every_anime_that_uses_it():
    catalogue = catalogue_of([song(1, [1, 2]), song(2, [2]), song(3, [3])])
    mask = np.ones(3, dtype=bool)
    catalogue.block_with_its_anime(mask, catalogue.row_of["s002"])
    assert ids(catalogue, np.flatnonzero(mask)) == ["s003"]
    assert catalogue.anime_of["s001"] == ("mal-1", "mal-2")


def test_points_map_to_rows_and_unknown_ones_to_none():
    catalogue = catalogue_of(mixed_songs())
    points = np.append(catalogue.points[[5, 3]], np.uint64(12345))
    assert catalogue.rows_of_points(points).tolist() == [5, 3, -1]


def test_a_song_is_found_by_its_id_and_by_its_video():
    catalogue = catalogue_of([song(1, [1], views=5), song(2, [1])])
    assert catalogue.find("s002").title == "Song 2"
    assert catalogue.find("yt-1").song_id == "s001"
    assert catalogue.find("nobody") is None


def test_a_made_up_video_is_not_linked():
    entry = catalogue_of([song(1, [1], views=5, made_up=True)]).songs[0]
    assert entry.youtube_id is None
    assert "yt-1" not in entry.url


def test_an_empty_catalogue_is_one():
    catalogue = build_catalogue(()).warm()
    assert len(catalogue) == 0
    assert catalogue.rows_of_points(np.array([1], dtype=np.uint64)).tolist() == [-1]
    assert catalogue.search.find("any", 5) == []


def test_records_are_songs_withdrawals_or_refused():
    known = song(1, [1], views=3)
    assert read_song(known.log_value()).views == 3
    assert read_song(WithdrawnSong(song_id="s001", withdrawn=True).model_dump_json(by_alias=True).encode()) is None
    with pytest.raises(UnreadableSong, match="appearances"):
        read_song(b'{"schema": 1, "song_id": "s001", "title": "x", "appearances": []}')
    with pytest.raises(UnreadableSong, match="upgrade"):
        read_song(b'{"schema": 2, "song_id": "s001"}')


def test_views_are_those_of_the_most_viewed_link():
    links = tuple(Link(site="youtube", id=f"v{n}", views=views) for n, views in enumerate((None, 4, 9)))
    assert catalogue_of([song(1, [1]).model_copy(update={"links": links})]).songs[0].views == 9


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("shingeki", "mal-1"),
        ("Attack on", "mal-1"),
        ("進撃", "mal-1"),
        ("STEINS GATE", "mal-2"),
        ("titan", "mal-3"),
        ("!!!", None),
    ],
)
def test_anime_are_found_in_three_languages(query: str, first: str | None):
    def titled(number: int, title: str, **fields: str | int) -> Song:
        anime = Anime(anime_id=f"mal-{number}", title=title, mal_id=number, **fields)
        return song(number, [number]).model_copy(update={"appearances": (Appearance(anime=anime, relation="opening"),)})

    catalogue = catalogue_of(
        [
            titled(1, "Shingeki no Kyojin", title_en="Attack on Titan", title_jp="進撃の巨人", popularity=1),
            titled(2, "Steins;Gate", popularity=9),
            titled(3, "Titan", popularity=5_000),
        ]
    )
    hits = [catalogue.anime[row].anime_id for row in catalogue.search.find(query, 5)]
    assert (hits[0] if hits else None) == first


def test_an_empty_query_names_the_popular():
    catalogue = catalogue_of(mixed_songs())
    assert len(catalogue.search.find("", 3)) == 3
