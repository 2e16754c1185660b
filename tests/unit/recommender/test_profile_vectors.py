"""A listener as a point, kept up to date song by song."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommender.cold_start import ColdStart
from services.recommender.models import ServedModel
from services.recommender.profile_vectors import ProfileVectors
from services.recommender.snapshots import CatalogueSnapshot
from tests.unit.recommender.made_up import clustered, words

IDS = [f"s{n:03d}" for n in range(30)]
NO_LIST = ColdStart((), 0.0)


class NoIndex:
    """These tests never search."""

    def search(self, *_: object, **__: object):
        raise AssertionError("no search here")

    def close(self) -> None: ...


def model(arm: str) -> ServedModel:
    from contracts.models import LiveModel

    raw = words(30, 40) if arm == "tfidf" else clustered(30, 12)
    kind = "sparse" if arm == "tfidf" else "dense"
    record = LiveModel(
        arm=arm, version="0" * 16, vectors=kind, dimension=raw.shape[1], songs=30, catalogue_digest="", built_at=0
    )
    return ServedModel(record, IDS, raw, NoIndex())


MODELS = {arm: model(arm) for arm in ("tfidf", "node2vec")}
# Two of them are newer than the models.
sets = st.frozensets(st.sampled_from([*IDS, "newer", "newest"]))


@pytest.mark.parametrize("arm", MODELS)
@given(steps=st.lists(sets, min_size=1, max_size=8))
def test_updates_equal_a_full_computation(arm, steps):
    vectors = ProfileVectors()
    for favoured in steps:
        stepped = vectors.vector("u", MODELS[arm], favoured, NO_LIST)
        np.testing.assert_array_equal(stepped.rows, MODELS[arm].rows_of(favoured))
    fresh = ProfileVectors().vector("u", MODELS[arm], steps[-1], NO_LIST)
    assert stepped.source == fresh.source
    np.testing.assert_allclose(stepped.vector, fresh.vector, atol=1e-9)


@pytest.mark.parametrize("arm", MODELS)
def test_an_unlike_restores_the_former_scores(arm):
    vectors, kept = ProfileVectors(), frozenset(IDS[3:9])
    before = MODELS[arm].scores(vectors.vector("u", MODELS[arm], kept, NO_LIST).vector)
    liked = MODELS[arm].scores(vectors.vector("u", MODELS[arm], kept | {IDS[20]}, NO_LIST).vector)
    after = MODELS[arm].scores(vectors.vector("u", MODELS[arm], frozenset(kept), NO_LIST).vector)
    assert np.abs(liked - before).max() > 1e-3
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_dense_is_the_mean_of_raw_vectors_and_sparse_points_where_the_joined_text_does():
    vectors, favoured = ProfileVectors(), frozenset(IDS[:4])
    dense, sparse = MODELS["node2vec"], MODELS["tfidf"]
    np.testing.assert_allclose(
        vectors.vector("u", dense, favoured, NO_LIST).vector, dense.raw[:4].mean(axis=0), rtol=1e-5
    )
    joined = np.asarray(sparse.raw[:4].sum(axis=0)).ravel()
    ours = vectors.vector("u", sparse, favoured, NO_LIST).vector
    np.testing.assert_allclose(ours / np.linalg.norm(ours), joined / np.linalg.norm(joined), rtol=1e-5)


def test_the_list_is_mixed_in_by_its_weight():
    vectors, dense = ProfileVectors(), MODELS["node2vec"]
    mixed = vectors.vector("u", dense, frozenset({IDS[0]}), ColdStart((IDS[1], IDS[2]), 0.25))
    expected = 0.75 * dense.raw[0] + 0.25 * (dense.raw[1] + dense.raw[2]) / 2
    np.testing.assert_allclose(mixed.vector, expected, rtol=1e-5)
    assert mixed.source == "list"


def test_favourites_that_the_model_does_not_know_leave_the_list_or_the_mean():
    vectors, dense = ProfileVectors(), MODELS["node2vec"]
    unknown = frozenset({"newer"})
    assert vectors.vector("u", dense, unknown, NO_LIST).source == "mean"
    assert vectors.vector("u", dense, unknown, ColdStart((IDS[1],), 0.0)).source == "list"
    np.testing.assert_array_equal(vectors.vector("u", dense, unknown, NO_LIST).vector, dense.mean)


def test_sums_are_dropped_beyond_the_memory_limit():
    vectors = ProfileVectors(cache_bytes=10_000)
    for user in range(50):
        vectors.vector(f"u{user}", MODELS["node2vec"], frozenset(IDS[:3]), NO_LIST)
    assert 0 < vectors._sums.bytes <= 10_000
    assert 0 < len(vectors._sums) < 50


def test_versions_do_not_share_a_sum(snapshot: CatalogueSnapshot):
    vectors, bound = ProfileVectors(), snapshot.models["mpnet"].model
    one = vectors.vector("u", bound, frozenset(IDS[:3]), NO_LIST).vector
    other = vectors.vector("u", snapshot.models["minilm"].model, frozenset(IDS[:3]), NO_LIST).vector
    assert len(one) != len(other)
