"""Whole systems for tests: a first start is made once, every system after it goes on from a copy of its data."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.system import Listener, System, running_system

# ClickHouse keeps absolute paths; without its files the warehouse follows the log from its start. Two systems with the
# same ports and key would take each other's place (and posts) whenever one of them is down.
NOT_COPIED = ("clickhouse", "run", "port", "controller-port", "secret")
Another = Callable[..., AbstractContextManager[System]]


@pytest.fixture(scope="session")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The data of a system that was started on nothing and stopped, and what it printed.

    Test workers share it: the first that comes makes it, the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    data, printed = shared / "first", shared / "first.output"
    with FileLock(shared / "first.lock"):
        if not data.exists():
            making = System(shared / "making" / "first")
            try:
                making.start()
                assert making.stop() == 0
            finally:
                making.close()
            printed.write_text(making.printed(), encoding="utf-8")
            making.data_dir.rename(data)
    return data, printed.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def another(first_start: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Another:
    """`with another() as system`: a running system of the test's own, with the sample catalogue and both models."""

    def start(**variables: str) -> AbstractContextManager[System]:
        data_dir = Path(tmp_path_factory.mktemp("s")) / "data"
        shutil.copytree(first_start[0], data_dir, ignore=shutil.ignore_patterns(*NOT_COPIED))
        return running_system(data_dir, **variables)

    return start


@pytest.fixture(scope="session")
def system(another: Another) -> Iterator[System]:
    """A running system for all tests that only use it."""
    with another() as running:
        yield running


@pytest.fixture
def listener(system: System) -> Iterator[Listener]:
    """A new guest of the shared system."""
    guest = Listener(system.url)
    yield guest
    guest.close()
