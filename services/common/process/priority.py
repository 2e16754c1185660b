"""Priority on the processors: what no listener waits for runs at a lower one. Containers have their CPU shares."""

import os


def lower_priority(nice: int) -> None:
    """Run at this nice value (0 to 19), or stay at the higher one that this process has; its children inherit it.

    Does nothing where there is no such thing (Windows).
    """
    if hasattr(os, "nice"):
        os.nice(max(0, nice - os.nice(0)))
