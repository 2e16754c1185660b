"""One whole system for the tests that only use it; those that break it start their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.system import Listener, System, running_system


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running system with the sample catalogue and both models."""
    with running_system(Path(tmp_path_factory.mktemp("s")) / "data") as running:
        yield running


@pytest.fixture
def listener(system: System) -> Iterator[Listener]:
    """A new guest of the shared system."""
    guest = Listener(system.url)
    yield guest
    guest.close()
