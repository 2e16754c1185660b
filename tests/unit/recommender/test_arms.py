"""Every arm picks from the same eligible set, and is empty only when none of its candidates is open."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.arms import ARMS, CONTENT_ARMS
from services.recommender.arms import all_arms
from services.recommender.arms.base import LeftOut
from services.recommender.catalogue import Mask
from services.recommender.picking import pick_all
from services.recommender.snapshots import CatalogueSnapshot
from tests.unit.recommender.made_up import (
    catalogue_of,
    clustered,
    mixed_songs,
    opened,
    pick_request,
    publish,
    snapshot_of,
    song,
)

EVERY = all_arms()
SIZE = 40
# All examples share the snapshot, which never changes.
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)

masks = st.lists(st.booleans(), min_size=SIZE, max_size=SIZE).map(lambda bits: np.array(bits, dtype=bool))
scarce = st.frozensets(st.integers(0, SIZE - 1), max_size=4).map(lambda rows: np.isin(np.arange(SIZE), list(rows)))


def open_at_each_turn(snapshot: CatalogueSnapshot, mask: Mask, picked, order) -> dict[str, Mask]:
    """What was open when each arm picked, worked out again from the picks."""
    is_open, seen = mask.copy(), {}
    for arm in order:
        seen[arm] = is_open.copy()
        if arm in picked.picks:
            snapshot.catalogue.block_with_its_anime(is_open, picked.picks[arm].row)
    return seen


def test_every_arm_of_the_contract_is_found():
    assert tuple(EVERY) == ARMS


@shared
@given(mask=masks | scarce, near=st.sampled_from([None, "s003", "s017"]), order=st.permutations(ARMS))
def test_an_arm_is_empty_only_if_nothing_is_open_and_nothing_comes_twice(
    snapshot: CatalogueSnapshot, mask, near, order
):
    asked = pick_request(snapshot, mask, near=near)
    picked = pick_all(asked, EVERY, order, lambda *_: None)
    seen = open_at_each_turn(snapshot, mask, picked, order)
    for arm in order:
        if arm in picked.picks:
            assert seen[arm][picked.picks[arm].row]
        else:
            assert not seen[arm].any()
            assert picked.left_out[arm].startswith("nothing left")
    rows = [pick.row for pick in picked.picks.values()]
    anime = [each.anime_id for row in rows for each in snapshot.catalogue.songs[row].anime]
    assert len(set(rows)) == len(rows)
    assert len(set(anime)) == len(anime)
    assert np.array_equal(asked.eligible, mask)


@shared
@given(mask=masks, near=st.sampled_from([None, "s003", "s017"]))
@pytest.mark.parametrize("arm", CONTENT_ARMS)
def test_a_content_arm_picks_the_nearest_open_song(snapshot: CatalogueSnapshot, arm, mask, near):
    asked = pick_request(snapshot, mask, near=near)
    pick = EVERY[arm].pick(asked)
    if not mask.any():
        assert pick is None
        return
    bound = snapshot.models[arm]
    scores = bound.model.scores(asked.vector_of(bound).vector)
    of_row = np.full(SIZE, -np.inf)
    of_row[bound.catalogue_rows] = scores
    assert pick.score == pytest.approx(of_row[mask].max(), abs=1e-3)
    assert pick.version == bound.version
    assert pick.p_song == 1.0


def test_random_picks_every_open_song_equally_often(snapshot: CatalogueSnapshot):
    mask = np.zeros(SIZE, dtype=bool)
    mask[[3, 8, 21, 30]] = True
    asked = pick_request(snapshot, mask)
    picks = [EVERY["random"].pick(asked) for _ in range(4_000)]
    assert {pick.p_song for pick in picks} == {0.25}
    counts = np.bincount([pick.row for pick in picks], minlength=SIZE)[[3, 8, 21, 30]]
    assert counts.sum() == 4_000
    assert counts.min() > 900


def test_popular_picks_the_most_viewed_open_song(snapshot: CatalogueSnapshot):
    mask = np.ones(SIZE, dtype=bool)
    assert snapshot.catalogue.songs[EVERY["popular"].pick(pick_request(snapshot, mask)).row].views == 38_000
    mask[snapshot.catalogue.row_of["s038"]] = False
    assert snapshot.catalogue.songs[EVERY["popular"].pick(pick_request(snapshot, mask)).row].views == 37_000


def test_an_arm_without_a_model_says_what_to_do(snapshot: CatalogueSnapshot):
    asked = pick_request(CatalogueSnapshot(snapshot.catalogue, {}, {}), np.ones(SIZE, dtype=bool))
    with pytest.raises(LeftOut, match="not built: animusic models build mpnet"):
        EVERY["mpnet"].pick(asked)


def test_an_arm_that_fails_costs_only_itself(snapshot: CatalogueSnapshot):
    class Broken:
        name = "tfidf"

        def pick(self, pick_request):
            raise RuntimeError("disk on fire")

    seen: list[tuple[str, str | None]] = []
    picked = pick_all(
        pick_request(snapshot, np.ones(SIZE, dtype=bool)),
        {**EVERY, "tfidf": Broken()},
        ARMS,
        lambda arm, _, code: seen.append((arm, code)),
    )
    assert set(picked.picks) == set(ARMS) - {"tfidf"}
    assert picked.left_out == {"tfidf": "failed: RuntimeError; the recommender's log has the cause"}
    assert ("tfidf", "failed") in seen


def test_songs_around_the_listener_that_are_all_closed_do_not_hide_the_rest(tmp_path: Path):
    """One anime owns the 3,000 songs nearest to the listener; the arm still finds the nearest of the others."""
    crowd, others = 3_000, 60
    songs = [song(n, [1]) for n in range(crowd)] + [song(crowd + n, [100 + n]) for n in range(others)]
    catalogue = catalogue_of(songs)
    raw = clustered(crowd + others, 16, seed=3)
    raw[:crowd] = raw[0] + 0.01 * clustered(crowd, 16, seed=4)
    names = [each.song_id for each in songs]
    snapshot = snapshot_of(catalogue, opened(tmp_path, [publish(tmp_path, "mpnet", names, raw)]))
    asked = pick_request(snapshot, np.ones(len(catalogue), dtype=bool), near=names[0])
    asked.take(catalogue.row_of[names[1]])
    pick = EVERY["mpnet"].pick(asked)
    bound = snapshot.models["mpnet"]
    scores = bound.model.scores(bound.model.total(bound.model.rows_of([names[0]])))
    best = names[crowd + int(np.argmax(scores[crowd:]))]
    assert catalogue.songs[pick.row].song_id == best
    assert asked.queries == {"mpnet": 3}


def test_a_model_older_than_the_catalogue_picks_songs_of_both(tmp_path: Path):
    songs = mixed_songs()
    names = [each.song_id for each in songs]
    record = publish(tmp_path, "node2vec", names, clustered(SIZE, 8))
    newer = catalogue_of([*songs[10:], *[song(900 + n, [900 + n], views=1) for n in range(5)]])
    snapshot = snapshot_of(newer, opened(tmp_path, [record]))
    bound = snapshot.models["node2vec"]
    assert len(bound.unknown_points) == 10
    assert bound.known.sum() == SIZE - 10
    pick = EVERY["node2vec"].pick(pick_request(snapshot, np.ones(len(newer), dtype=bool), near="s003"))
    assert newer.songs[pick.row].song_id in names[10:]
    only_new = np.array([entry.song_id >= "s900" for entry in newer.songs])
    picked = pick_all(pick_request(snapshot, only_new), EVERY, ["node2vec"], lambda *_: None)
    assert picked.left_out["node2vec"].startswith("nothing left: its model has none")
