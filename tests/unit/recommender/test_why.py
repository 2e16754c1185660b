"""Which favoured songs weighed most."""

import numpy as np
import pytest

from services.recommender.answering import because, shared
from services.recommender.models import ServedModel
from services.recommender.snapshots import CatalogueSnapshot
from tests.unit.recommender.made_up import catalogue_of, clustered, mixed_songs
from tests.unit.recommender.test_profile_vectors import NoIndex


@pytest.mark.parametrize("arm", ["mpnet", "minilm", "node2vec", "tfidf"])
def test_the_three_top_contributors_are_named(snapshot: CatalogueSnapshot, arm):
    bound = snapshot.models[arm]
    favoured = np.arange(2, 30, dtype=np.int32)
    row = bound.model.row_of["s001"]
    dense = bound.model.raw.toarray() if arm == "tfidf" else bound.model.raw
    weights = dense[favoured] @ dense[row]
    top_contributors = [f"s{favoured[at]:03d}" for at in np.argsort(-weights)[:3] if weights[at] > 0]
    named = [each.song_id for each in because(snapshot.catalogue, bound, "s001", favoured)]
    assert named == top_contributors


def test_with_many_favourites_a_sketch_finds_the_same_ones():
    from contracts.models import LiveModel

    raw = clustered(2_000, 128, seed=5)
    record = LiveModel(
        arm="mpnet", version="0" * 16, vectors="dense", dimension=128, songs=2_000, catalogue_digest="", built_at=0
    )
    model = ServedModel(record, [f"m{n}" for n in range(2_000)], raw, NoIndex())
    favoured = np.arange(1_000, 2_000, dtype=np.int32)
    exact = favoured[np.argsort(-(raw[favoured] @ raw[5]))[:3]]
    assert model._sketch is not None
    assert set(model.top_contributors(5, favoured, 3).tolist()) == set(exact.tolist())


def test_what_two_songs_share_is_credits_then_tags():
    one, other = catalogue_of(mixed_songs()).songs[0], catalogue_of(mixed_songs()).songs[12]
    assert shared(one, other) == ["vocals: Ann", "composition: Ann", "tag: tag0"]


def test_no_reasons_without_favourites_or_outside_the_model(snapshot: CatalogueSnapshot):
    bound = snapshot.models["mpnet"]
    assert because(snapshot.catalogue, bound, "s001", np.empty(0, dtype=np.int32)) == []
    assert because(snapshot.catalogue, bound, "newer", np.arange(3, dtype=np.int32)) == []


def test_a_kept_song_that_was_liked_since_is_not_its_own_reason(snapshot: CatalogueSnapshot):
    bound = snapshot.models["mpnet"]
    row = bound.model.row_of["s001"]
    assert because(snapshot.catalogue, bound, "s001", np.array([row], dtype=np.int32)) == []
    named = [each.song_id for each in because(snapshot.catalogue, bound, "s001", np.arange(8, dtype=np.int32))]
    assert named and "s001" not in named
