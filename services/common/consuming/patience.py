"""Waiting out an outage: the same call again, with jittered back-off, for a bounded time."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.common.consuming.metrics import ConsumerMetrics

R = TypeVar("R")
_FIRST_SECONDS = 0.05
_LONGEST_SECONDS = 2.0


class OutageTooLong(Exception):
    """A part that the consumer needs did not answer for the whole time that it waits. `str()` says what to do."""


class Stopping(Exception):
    """The process was asked to stop while it was waiting for a part to come back."""


class Patience:
    """Tries a call until it passes.

    `seconds` bounds one outage; a supervisor starts the process again after that. `stopping` ends a wait early.
    `waiting_for`: what does not answer just now.
    """

    def __init__(self, step: str, seconds: float, stopping: asyncio.Event, metrics: ConsumerMetrics) -> None:
        self._log = logging.getLogger(f"animusic.{step}")
        self._seconds = seconds
        self._stopping = stopping
        self._metrics = metrics
        self.waiting_for: str | None = None

    async def until_it_passes(
        self, what: str, call: Callable[[], Awaitable[R]], outages: tuple[type[Exception], ...]
    ) -> R:
        """The result of `call`. Raises OutageTooLong, Stopping, and whatever is not among `outages`."""
        began = time.monotonic()
        longest = _FIRST_SECONDS
        while True:
            try:
                result = await call()
            except outages as error:
                self._metrics.count("animusic_consumer_outage_retries")
                await self._wait(what, error, began, longest)
                longest = min(2 * longest, _LONGEST_SECONDS)
            else:
                self._over(what, began, longest)
                return result

    async def _wait(self, what: str, error: Exception, began: float, longest: float) -> None:
        self._metrics.gauge("animusic_consumer_paused", 1)
        self.waiting_for = what
        waited = time.monotonic() - began
        if longest == _FIRST_SECONDS:
            self._log.warning(
                "%s does not answer (%s: %s); waiting, nothing is lost", what, type(error).__name__, error
            )
        if waited > self._seconds:
            raise OutageTooLong(
                f"{what} has not answered for {waited:.0f} s: {error}; see `animusic status`"
            ) from error
        try:
            await asyncio.wait_for(self._stopping.wait(), random.uniform(longest / 2, longest))
        except TimeoutError:
            return
        raise Stopping

    def _over(self, what: str, began: float, longest: float) -> None:
        if longest > _FIRST_SECONDS:
            self._metrics.gauge("animusic_consumer_paused", 0)
            self.waiting_for = None
            self._log.warning("%s answers again after %.1f s", what, time.monotonic() - began)
