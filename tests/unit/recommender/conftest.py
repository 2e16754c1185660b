"""One small catalogue on real shards, shared by the tests of a run."""

import pytest

from services.recommender.snapshots import CatalogueSnapshot
from tests.unit.recommender.made_up import catalogue_of, mixed_songs, opened, publish_all, snapshot_of


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> CatalogueSnapshot:
    """40 songs of 14 anime, all four models."""
    catalogue = catalogue_of(mixed_songs())
    directory = tmp_path_factory.mktemp("vectors")
    return snapshot_of(catalogue, opened(directory, publish_all(directory, [e.song_id for e in catalogue.songs])))
