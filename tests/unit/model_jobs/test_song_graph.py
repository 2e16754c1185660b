"""The song graph: typed nodes, chosen kinds, weights by kind, each edge once."""

import networkx
import pytest

from collectors.synthetic import synthetic_songs
from contracts.catalogue import Anime, Appearance, Credits, Song
from model_jobs.song_graph import KINDS, song_graph


def song(**more: object) -> Song:
    anime = Anime(anime_id="mal-1", title="Echo", genres=("Echo",))
    names = Credits(vocals=("Echo",), composition=("Echo",), arrangement=("Echo",), lyrics=("ECHO!",))
    appearance = Appearance(anime=anime, relation="opening")
    fields: dict = {"appearances": (appearance, appearance), "credits": names, "tags": ("echo", "ECHO"), **more}
    return Song(song_id="s", title="Echo", **fields)


def test_nodes_have_types_so_that_one_name_is_two_things() -> None:
    graph = song_graph([song()])
    kinds = ["anime:mal-1", "artist:echo", "composer:echo", "arranger:echo", "lyricist:echo", "tag:echo"]
    assert set(graph["song:s"]) == set(kinds)
    assert set(graph["anime:mal-1"]) == {"song:s", "genre:echo"}
    assert [weight for _, _, weight in graph.edges(data="weight")] == [1.0] * 7


def test_only_the_chosen_kinds_are_nodes() -> None:
    graph = song_graph([song()], ("anime", "composer", "tag"))
    assert set(graph["song:s"]) == {"anime:mal-1", "composer:echo", "tag:echo"}
    assert set(song_graph([song()], ("genre",))["song:s"]) == {"genre:echo"}
    assert song_graph([song(credits=Credits())], ("composer",)).number_of_nodes() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_edge_weighs_what_its_kind_does(kind: str) -> None:
    graph = song_graph([song()], weights={kind: 3.5})
    for one, other, weight in graph.edges(data="weight"):
        assert weight == (3.5 if kind in {_kind(one, other), _kind(other, one)} else 1.0), (one, other)


def _kind(one: str, other: str) -> str:
    """Of the edge's end that is not the song, or that is not the anime."""
    return one.partition(":")[0] if other.startswith("song" if one.startswith("anime") else ("song", "anime")) else ""


def test_the_same_songs_give_the_same_nodes_in_the_same_order() -> None:
    songs = synthetic_songs(100)
    one, again = song_graph(songs), song_graph(songs)
    assert list(one) == list(again) and list(one.edges(data="weight")) == list(again.edges(data="weight"))
    assert not list(networkx.isolates(one)) and not list(networkx.selfloop_edges(one))
