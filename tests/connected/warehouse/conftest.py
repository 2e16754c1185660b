"""The engine, empty."""

from collections.abc import Iterator

import pytest

from services.common.clickhouse import ChdbConnection, ChdbEngine
from tests.connected.warehouse import engine as shared


@pytest.fixture(scope="session")
def engine() -> ChdbEngine:
    """The one chDB engine of this process."""
    return shared.engine()


@pytest.fixture
def clickhouse(engine: ChdbEngine) -> Iterator[ChdbConnection]:
    """A connection to the engine, with empty tables."""
    connection = engine.connect()
    shared.empty(connection)
    yield connection
    connection.close()
