"""Background work runs at a lower priority, and never at a higher one than before."""

import os
import subprocess
import sys

import pytest

from services.common.settings import REPO_ROOT

_TOLD = "import os; from services.common.process.startup import lower_priority; {calls}; print(os.nice(0))"


@pytest.mark.parametrize(
    ("calls", "nice"),
    [
        ("lower_priority(0)", 0),
        ("lower_priority(7)", 7),
        ("lower_priority(12); lower_priority(5)", 12),
        ("lower_priority(19)", 19),
    ],
)
def test_the_nice_value_only_ever_rises(calls: str, nice: int):
    done = subprocess.run(
        [sys.executable, "-c", _TOLD.format(calls=calls)], cwd=REPO_ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == max(nice, os.nice(0))
