"""The rule of tests/conftest.py itself: without a marker no test starts a store."""

import subprocess

import pytest


def test_an_unmarked_test_cannot_start_a_store() -> None:
    with pytest.raises(RuntimeError, match="mark it `connected`"):
        subprocess.Popen(["valkey-server", "--port", "0"])


@pytest.mark.connected
def test_a_marked_one_can() -> None:
    assert subprocess.run(["true", "valkey-server"], check=False).returncode == 0
