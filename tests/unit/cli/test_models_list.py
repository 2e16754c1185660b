"""`animusic models list`: a version is called what it is."""

import pytest

from contracts.model_builds import ModelBuild
from contracts.models import LiveModel
from services.cli.models_list import state_of, versions_once_live

LIVE, BEFORE, NEVER = "1" * 16, "2" * 16, "3" * 16


def record(version: str, **params: object) -> LiveModel:
    return LiveModel(
        arm="tfidf", version=version, vectors="sparse", dimension=3, songs=5, catalogue_digest="c", built_at=0,
        params=params,
    )  # fmt: skip


def build(version: str, *, went_live: bool, replaced: str | None = None) -> ModelBuild:
    return ModelBuild(
        arm="tfidf", version=version, outcome="built", went_live=went_live, replaced=replaced, started_at=0
    )


HISTORY = [build(LIVE, went_live=True, replaced=BEFORE), build(NEVER, went_live=False)]


@pytest.mark.parametrize(("version", "state"), [(LIVE, "live"), (BEFORE, "was live"), (NEVER, "never live")])
def test_a_version_is_live_or_was_or_never_was(version, state) -> None:
    live = {"tfidf": record(LIVE)}
    assert state_of(record(version), live, set(), versions_once_live(HISTORY), here=True) == state


def test_what_else_is_to_be_known_stands_behind_it() -> None:
    live = {"tfidf": record(LIVE)}
    assert state_of(record(LIVE), live, {"tfidf"}, set(), here=True) == "live, stale"
    assert state_of(record(LIVE), live, set(), set(), here=False) == "live, not on this machine"
    assert state_of(record(NEVER, made_up=True), live, {"tfidf"}, set(), here=True) == "never live, made up"
