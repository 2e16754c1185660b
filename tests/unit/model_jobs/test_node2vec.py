"""node2vec: vectors that follow what songs share, the same for the same seed, as the settings say."""

import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest

from collectors.synthetic import cluster_of, synthetic_songs
from contracts.catalogue import Link
from model_jobs.node2vec import Node2Vec, node2vec_of
from model_jobs.tfidf import Tfidf
from services.common.settings import Node2VecSettings, Settings

_DIGEST = """
from hashlib import sha256
from collectors.synthetic import synthetic_songs
from model_jobs.node2vec import Node2Vec
rows = Node2Vec(dimension=8, walks=2).build(synthetic_songs(60)).raw
print(sha256(rows.tobytes()).hexdigest())
"""


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


@pytest.mark.parametrize("model", [Tfidf(), Node2Vec(), Node2Vec(nodes=("anime",))], ids=["tfidf", "node2vec", "anime"])
def test_what_is_not_read_asks_for_no_new_build(model: Tfidf | Node2Vec) -> None:
    song = synthetic_songs(50)[3]
    viewed = song.model_copy(update={"links": (Link(site="youtube", id="x", views=7),)})
    tagged = song.model_copy(update={"tags": (*song.tags, "another")})
    assert model.reads(song) == model.reads(viewed)
    assert (model.reads(song) == model.reads(tagged)) is (getattr(model, "nodes", None) == ("anime",))


@pytest.mark.parametrize("arm", ["tfidf", "node2vec"])
def test_what_the_vectors_depend_on_names_the_version(arm: str) -> None:
    from model_jobs.model import version_of
    from model_jobs.registry import model_named

    settings = Settings()
    model = model_named(settings, arm)
    version = version_of(model, "0" * 32)
    assert len(version) == 16 and version == version_of(model_named(settings, arm), "0" * 32)
    other = model_named(settings, arm, {"tfidf": {"min_df": 2}, "node2vec": {"dimension": 16}}[arm])
    assert len({version, version_of(model, "1" * 32), version_of(other, "0" * 32)}) == 3
    with pytest.raises(ValueError, match="no such parameter"):
        model_named(settings, arm, {"colour": 3})
    with pytest.raises(ValueError, match="nothing here builds"):
        model_named(settings, "mp3")


def test_the_papers_preset_and_what_goes_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMUSIC_MODELS__NODE2VEC__PRESET", "paper")
    monkeypatch.setenv("ANIMUSIC_MODELS__NODE2VEC__WALKS", "30")
    monkeypatch.setenv("ANIMUSIC_MODELS__NODE2VEC__EDGE_WEIGHTS__COMPOSER", "2.5")
    asked = Settings().models.node2vec
    paper = node2vec_of(asked, {"walks": 40, "p": 0.5})
    assert (paper.dimension, paper.walk_length, paper.window, paper.epochs) == (16, 10, 5, 5)
    assert (paper.walks, paper.p, paper.q, tuple(paper.nodes)) == (40, 0.5, 1.0, ("anime", "composer", "tag"))
    assert paper.edge_weights == {"composer": 2.5} and node2vec_of(asked).walks == 30
    assert node2vec_of(asked, {"preset": "default"}).dimension == Node2Vec.dimension


def test_a_version_does_not_depend_on_how_it_is_said() -> None:
    one = Node2Vec(nodes=("tag", "anime"), edge_weights={"tag": 1, "genre": 3}, p=2).params()
    assert one == Node2Vec(nodes=["anime", "tag"], p=2.0).params()
    assert one != Node2Vec(nodes=["anime", "tag"], p=2.0, edge_weights={"tag": 2}).params()
    assert node2vec_of(Node2VecSettings(), one).params() == one


@pytest.mark.parametrize(
    "wrong", [{"nodes": ()}, {"nodes": ("singer",)}, {"edge_weights": {"tag": 0.0}}, {"q": 0.0}, {"preset": "none"}]
)
def test_what_no_graph_can_be_walked_with_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"node2vec"):
        node2vec_of(Node2VecSettings(), wrong)


def test_a_song_without_any_of_the_nodes_is_left_out_with_a_reason() -> None:
    songs = synthetic_songs(60)
    songs[7] = songs[7].model_copy(update={"tags": ()})
    vectors = Node2Vec(dimension=8, walks=2, nodes=("tag",)).build(songs)
    assert list(vectors.left_out) == [songs[7].song_id] and len(vectors.song_ids) == 59 == len(vectors.raw)
    with pytest.raises(ValueError, match="no song"):
        Node2Vec(nodes=("tag",)).build([songs[7]])


def test_weights_and_second_order_walks_change_the_vectors() -> None:
    songs = synthetic_songs(60)
    built = [
        Node2Vec(dimension=8, walks=2, **more).build(songs).raw
        for more in ({}, {"edge_weights": {"tag": 5.0}}, {"p": 4.0}, {"q": 4.0})
    ]
    assert len({rows.tobytes() for rows in built}) == len(built) and all(np.isfinite(rows).all() for rows in built)


def test_several_workers_train_as_well_as_one() -> None:
    songs = synthetic_songs(300)
    vectors = Node2Vec(dimension=16, workers=3).build(songs)
    unit = vectors.raw / np.linalg.norm(vectors.raw, axis=1, keepdims=True)
    clusters = np.array([cluster_of(song) for song in songs])
    same = clusters[:, None] == clusters[None, :]
    cosines = unit @ unit.T
    assert cosines[same & ~np.eye(300, dtype=bool)].mean() > cosines[~same].mean() + 0.2
