"""The one clock: milliseconds since the epoch."""

import time


def now_ms() -> int:
    """Now, in whole milliseconds since the Unix epoch (UTC)."""
    return time.time_ns() // 1_000_000
