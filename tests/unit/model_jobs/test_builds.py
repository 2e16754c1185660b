"""What is measured of a build, and where an arm goes back to."""

import numpy as np
import pytest

from contracts.model_builds import ModelBuild
from model_jobs.builds import Meter, candidates, live_before, peak_memory_bytes
from model_jobs.publishing import kept_versions
from tests.unit.model_jobs.test_compare import CLUSTERED, published, rows

A, B, C = ("a" * 16, "b" * 16, "c" * 16)


def note(version: str, outcome: str = "built", *, live: bool = True, replaced: str | None = None) -> ModelBuild:
    fields = {"arm": "tfidf", "version": version, "outcome": outcome, "went_live": live, "replaced": replaced}
    return ModelBuild.model_validate({**fields, "started_at": 0})


@pytest.mark.parametrize(
    ("noted", "live", "before"),
    [
        ([], A, None),
        ([note(A)], A, None),
        ([note(A), note(B, replaced=A)], B, A),
        # A candidate was never live.
        ([note(A), note(B, replaced=A), note(C, live=False)], B, A),
        # Back at A: what was before B is before A, not B.
        ([note(A), note(B, replaced=A), note(A, "rolled back", replaced=B)], A, None),
        ([note(A), note(B, replaced=A), note(C, replaced=B), note(B, "rolled back", replaced=C)], B, A),
        # Switched forth again after that.
        ([note(A), note(B, replaced=A), note(A, "rolled back", replaced=B), note(B, "switched", replaced=A)], B, A),
        # The first records are from before this topic: what was replaced tells.
        ([note(B, replaced=A)], B, A),
        # The live record is newer than the topic: a job died between the switch and its note.
        ([note(A), note(B, replaced=A)], C, B),
        # Records of other arms say nothing.
        ([note(A).model_copy(update={"arm": "minilm"})], B, None),
    ],
)
def test_the_way_back(noted: list[ModelBuild], live: str, before: str | None) -> None:
    assert live_before(noted, "tfidf", live) == before


def test_candidates_were_built_and_never_live() -> None:
    noted = [
        note(A),
        note(B, live=False),
        note(C, live=False),
        note(C, "switched"),
        note("d" * 16, "failed", live=False),
    ]
    assert candidates(noted, "tfidf") == {B}


@pytest.mark.parametrize(
    ("live", "before", "keep", "kept"),
    [
        (A, B, 2, [A, B]),
        (A, None, 2, [A, C]),
        (A, B, 1, [A]),
        (A, B, 3, [A, B, C]),
        # What was removed by hand takes no place.
        (A, "f" * 16, 2, [A, C]),
        (None, None, 2, [C, B]),
    ],
)
def test_live_and_the_one_before_it_stay_then_the_newest(live, before, keep: int, kept: list[str]) -> None:
    newest_first = [published(rows(CLUSTERED), version=version).record for version in (C, B, A)]
    assert kept_versions(newest_first, live, before, keep) == kept


def test_a_meter_tells_stages_apart_and_the_peak_begins_anew() -> None:
    first = Meter()
    with first.stage("vectors"):
        large = np.ones(100 << 20, dtype=np.uint8)
        total = int(large.sum())
    before = peak_memory_bytes()
    del large
    second = Meter()
    with second.stage("index"):
        pass
    with first.stage("vectors"):
        pass
    assert total == 100 << 20 and peak_memory_bytes() <= before
    assert set(first.stages) == {"vectors"} and set(second.stages) == {"index"}
    assert 0 <= second.seconds <= first.seconds and first.stages["vectors"].seconds <= first.seconds + 0.001
