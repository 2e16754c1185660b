"""Going no faster than asked, so that those who share processors and stores feel little of it."""

import asyncio
import time


class Pace:
    """At most `rate` a second, None: any. What was not used in `burst_seconds` before may come at once."""

    def __init__(self, rate: float | None, burst_seconds: float = 1.0) -> None:
        self._rate = rate
        self._burst_seconds = burst_seconds
        self._due = time.monotonic()

    async def keep(self, done: int) -> None:
        """Say that so many were done; returns when the next may begin."""
        if self._rate is None or not done:
            return
        now = time.monotonic()
        self._due = max(self._due, now - self._burst_seconds) + done / self._rate
        if self._due > now:
            await asyncio.sleep(self._due - now)
