"""A data directory with a log of its own for builds."""

from pathlib import Path

import pytest

from services.common.settings import KafkaSettings, Settings


@pytest.fixture
def settings(log: KafkaSettings, tmp_path: Path) -> Settings:
    """Settings of a build: clean topics, an empty directory."""
    return Settings(data_dir=tmp_path, kafka=log)
