"""The song graph: typed nodes, chosen kinds, weights by kind, each edge once."""

import pytest

from collectors.synthetic import synthetic_songs
from contracts.catalogue import Anime, Appearance, Credits, Song
from model_jobs.song_graph import KINDS, graph_of_edges, song_graph


def song(**more: object) -> Song:
    anime = Anime(anime_id="mal-1", title="Echo", genres=("Echo",))
    names = Credits(vocals=("Echo",), composition=("Echo",), arrangement=("Echo",), lyrics=("ECHO!",))
    appearance = Appearance(anime=anime, relation="opening")
    fields: dict = {"appearances": (appearance, appearance), "credits": names, "tags": ("echo", "ECHO"), **more}
    return Song(song_id="s", title="Echo", **fields)


def test_nodes_have_types_so_that_one_name_is_two_things() -> None:
    graph = song_graph([song()])
    kinds = ["anime:mal-1", "artist:echo", "composer:echo", "arranger:echo", "lyricist:echo", "tag:echo"]
    assert set(graph.neighbours_of("song:s")) == set(kinds)
    assert set(graph.neighbours_of("anime:mal-1")) == {"song:s", "genre:echo"}
    assert set(graph.weights.tolist()) == {1.0} and len(graph.weights) == 2 * 7


def test_only_the_chosen_kinds_are_nodes() -> None:
    graph = song_graph([song()], ("anime", "composer", "tag"))
    assert set(graph.neighbours_of("song:s")) == {"anime:mal-1", "composer:echo", "tag:echo"}
    assert set(song_graph([song()], ("genre",)).neighbours_of("song:s")) == {"genre:echo"}
    assert song_graph([song(credits=Credits())], ("composer",)).names == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_edge_weighs_what_its_kind_does(kind: str) -> None:
    graph = song_graph([song()], weights={kind: 3.5})
    edges = {name: weight for node in graph.names for name, weight in graph.neighbours_of(node).items()}
    expected = {name: 3.5 if name.startswith(kind) else 1.0 for name in edges if not name.startswith(("song", "anime"))}
    assert {name: weight for name, weight in edges.items() if name in expected} == expected
    assert graph.neighbours_of("song:s")["anime:mal-1"] == (3.5 if kind == "anime" else 1.0)


def test_both_ends_know_an_edge_and_neighbours_are_ordered() -> None:
    graph = song_graph(synthetic_songs(100), weights={"tag": 2.0})
    pairs = {
        (node, int(neighbour)): weight
        for node in range(len(graph.names))
        for neighbour, weight in zip(
            graph.neighbours[graph.starts[node] : graph.starts[node + 1]],
            graph.weights[graph.starts[node] : graph.starts[node + 1]],
            strict=True,
        )
    }
    assert len(pairs) == len(graph.neighbours) and all(pairs[b, a] == weight for (a, b), weight in pairs.items())
    assert list(pairs) == sorted(pairs)


def test_an_edge_that_is_named_again_stays_one() -> None:
    graph = graph_of_edges([("a", "b", 2.0), ("b", "a", 9.0), ("b", "c", 1.0)])
    assert graph.neighbours_of("b") == {"a": 2.0, "c": 1.0}
