"""A warehouse process for tests that compare stores with the log."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.settings import KafkaSettings
from tests.connected.warehouse.test_service import Process


@pytest.fixture
def warehouse(log: KafkaSettings, tmp_path: Path) -> Iterator[Process]:
    """Not started yet; killed at the end."""
    process = Process(log, tmp_path, ANIMUSIC_WAREHOUSE__FLUSH_MS="50")
    yield process
    process.end(signal.SIGKILL)
