"""Processes of a rebuild stand back, never forward."""

import os
import subprocess
import sys

import pytest

from services.common.settings import REPO_ROOT

_TOLD = """
import os
from services.common.priority import stand_back
{calls}
print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_IDLE)
"""


@pytest.mark.parametrize(
    ("calls", "nice", "idle"),
    [
        ("stand_back(0)", 0, False),
        ("stand_back(7)", 7, False),
        ("stand_back(12); stand_back(5)", 12, False),
        ("stand_back(19)", 19, True),
    ],
)
def test_a_process_stands_back_and_never_comes_forward(calls: str, nice: int, idle: bool):
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    done = subprocess.run(
        [sys.executable, "-c", _TOLD.format(calls=calls)], cwd=REPO_ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(max(nice, mine)), str(idle)]
