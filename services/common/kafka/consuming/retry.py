"""Retries a call during an outage, with jittered back-off, for a bounded time."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from services.common.kafka.consuming.metrics import ConsumerMetrics

R = TypeVar("R")
_FIRST_SECONDS: Final = 0.05
_LONGEST_SECONDS: Final = 2.0


class OutageTooLong(Exception):
    """A part that the consumer needs did not answer for the whole time that it is retried. `str()` says what to do."""


class Stopping(Exception):
    """The process was asked to stop while a call was being retried."""


class RetryPolicy:
    """Retries calls during an outage.

    `seconds` bounds one outage; a supervisor starts the process again after that. `stopping` ends a wait early.
    `waiting_for`: the part that does not answer just now.
    """

    def __init__(self, step: str, seconds: float, stopping: asyncio.Event, metrics: ConsumerMetrics) -> None:
        self._log = logging.getLogger(f"animusic.{step}")
        self._seconds = seconds
        self._stopping = stopping
        self._metrics = metrics
        self.waiting_for: str | None = None

    async def retry(self, what: str, call: Callable[[], Awaitable[R]], outages: tuple[type[Exception], ...]) -> R:
        """The result of `call`. Raises OutageTooLong, Stopping, and whatever is not among `outages`."""
        began, pause = time.monotonic(), _FIRST_SECONDS
        while True:
            try:
                result = await call()
            except outages as error:
                if pause == _FIRST_SECONDS:
                    self._log.warning(
                        "%s does not answer (%s: %s); retrying, nothing is lost", what, type(error).__name__, error
                    )
                self._metrics.count("animusic_consumer_outage_retries")
                self._metrics.gauge("animusic_consumer_paused", 1)
                self.waiting_for = what
                waited = time.monotonic() - began
                if waited > self._seconds:
                    raise OutageTooLong(
                        f"{what} has not answered for {waited:.0f} s: {error}; see `animusic status`"
                    ) from error
                await self._sleep(random.uniform(pause / 2, pause))
                pause = min(2 * pause, _LONGEST_SECONDS)
            else:
                if pause > _FIRST_SECONDS:
                    self._metrics.gauge("animusic_consumer_paused", 0)
                    self.waiting_for = None
                    self._log.warning("%s answers again after %.1f s", what, time.monotonic() - began)
                return result

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return
        raise Stopping
