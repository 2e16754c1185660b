"""node2vec: the graph, the walks, and vectors that follow what songs share."""

import subprocess
import sys
from hashlib import sha256

import networkx as nx
import numpy as np
import pytest

from collectors.synthetic import cluster_of, synthetic_songs
from contracts.catalogue import Anime, Appearance, Credits, Song
from model_jobs.node2vec import Node2Vec
from model_jobs.song_graph import Csr, song_graph

_DIGEST = """
from hashlib import sha256
from collectors.synthetic import synthetic_songs
from model_jobs.node2vec import Node2Vec
rows = Node2Vec(dimension=8, walks=2).build(synthetic_songs(60)).raw
print(sha256(rows.tobytes()).hexdigest())
"""


def test_nodes_have_types_so_that_one_name_is_two_things() -> None:
    anime = Anime(anime_id="mal-1", title="Echo", genres=("Echo",))
    names = Credits(vocals=("Echo",), composition=("Echo",), arrangement=("Echo",), lyrics=("ECHO!",))
    appearance = Appearance(anime=anime, relation="opening")
    graph = song_graph([Song(song_id="s", title="Echo", appearances=(appearance,), credits=names, tags=("echo",))])
    kinds = ["anime:mal-1", "artist:echo", "composer:echo", "arranger:echo", "lyricist:echo", "tag:echo"]
    assert set(graph["song:s"]) == set(kinds)
    assert set(graph["anime:mal-1"]) == {"song:s", "genre:echo"}


def test_walks_follow_edges_and_start_everywhere() -> None:
    graph = song_graph(synthetic_songs(80))
    csr = Csr(graph)
    walks = csr.walks(3, 8, np.random.default_rng(1))
    assert walks.shape == (3 * len(graph), 8)
    assert (np.bincount(walks[:, 0], minlength=len(graph)) == 3).all()
    for here, there in walks[:, :2].tolist() + walks[:, -2:].tolist():
        assert graph.has_edge(csr.names[here], csr.names[there])


def test_neighbours_are_drawn_by_weight() -> None:
    graph = nx.Graph()
    graph.add_weighted_edges_from([("a", "b", 1.0), ("a", "c", 3.0), ("a", "d", 6.0)])
    csr = Csr(graph)
    walks = csr.walks(20_000, 2, np.random.default_rng(2))
    from_a = walks[walks[:, 0] == csr.names.index("a"), 1]
    share = np.bincount(from_a, minlength=4)[[csr.names.index(name) for name in "bcd"]] / len(from_a)
    np.testing.assert_allclose(share, [0.1, 0.3, 0.6], atol=0.02)


def test_songs_of_one_cluster_lie_together_and_none_is_left_out() -> None:
    songs = synthetic_songs(400)
    vectors = Node2Vec(dimension=32).build(songs)
    assert vectors.raw.shape == (400, 32) and vectors.raw.dtype == np.float32 and not vectors.left_out
    unit = vectors.raw / np.linalg.norm(vectors.raw, axis=1, keepdims=True)
    cosines, clusters = unit @ unit.T, np.array([cluster_of(song) for song in songs])
    same = clusters[:, None] == clusters[None, :]
    off_diagonal = ~np.eye(400, dtype=bool)
    assert cosines[same & off_diagonal].mean() > cosines[~same].mean() + 0.2


def test_one_seed_gives_one_model_in_any_process() -> None:
    command, environment = [sys.executable, "-c", _DIGEST], {"PYTHONHASHSEED": "7"}
    elsewhere = subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout.strip()
    here = Node2Vec(dimension=8, walks=2).build(synthetic_songs(60)).raw
    assert sha256(here.tobytes()).hexdigest() == elsewhere
    rows = [Node2Vec(dimension=8, walks=2, seed=seed).build(synthetic_songs(60)).raw for seed in (1, 2)]
    assert not np.array_equal(*rows)


@pytest.mark.parametrize("arm", ["tfidf", "node2vec"])
def test_what_the_vectors_depend_on_names_the_version(arm: str) -> None:
    from model_jobs.model import version_of
    from model_jobs.registry import model_named
    from services.common.settings import Settings

    settings = Settings()
    model = model_named(settings, arm)
    version = version_of(model, "0" * 32)
    assert len(version) == 16 and version == version_of(model_named(settings, arm), "0" * 32)
    other = model_named(settings, arm, {"tfidf": {"min_df": 2}, "node2vec": {"dimension": 16}}[arm])
    assert len({version, version_of(model, "1" * 32), version_of(other, "0" * 32)}) == 3
    with pytest.raises(ValueError, match="no such parameter"):
        model_named(settings, arm, {"colour": 3})
    with pytest.raises(ValueError, match="tfidf and node2vec"):
        model_named(settings, "mp3")
