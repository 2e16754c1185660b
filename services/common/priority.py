"""How far a process stands back where it shares processors with what serves."""

import os
from typing import Final

IDLE: Final = 19


def stand_back(nice: int) -> None:
    """Let others go first: `nice` 0 to 19, never less than it is; at 19 run only while nobody else wants to (Linux).

    With a nice value alone a woken process may wait for the end of a slice of ours, some milliseconds at every step of
    a playlist; behind a process of the idle class it never does.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))
    if nice >= IDLE and hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
