"""Wait for something by asking again until a deadline; never sleep and hope."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# Asking costs those who are waited for, too: a long wait asks less often.
_SLOWER, _SLOWEST_SECONDS = 1.25, 0.1


def poll(
    fn: Callable[[], T], *, timeout: float = 10.0, interval: float = 0.02, slowest: float = _SLOWEST_SECONDS,
    what: str = "the condition",
) -> T:  # fmt: skip
    """The first truthy value of `fn`, asked again after `interval` seconds, and after a little more each time.

    `slowest`: the most seconds between two questions; what lasts a moment only is missed by those who slow down.

    Raises AssertionError with `what` and the last value when `timeout` seconds have passed.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = fn()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(_too_late(what, timeout, value))
        time.sleep(interval)
        interval = _next(interval, slowest)


async def apoll(
    fn: Callable[[], Awaitable[T]], *, timeout: float = 10.0, interval: float = 0.02, what: str = "the condition"
) -> T:
    """`poll` for a coroutine function; the event loop goes on meanwhile."""
    deadline = time.monotonic() + timeout
    while True:
        value = await fn()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(_too_late(what, timeout, value))
        await asyncio.sleep(interval)
        interval = _next(interval)


def _next(interval: float, slowest: float = _SLOWEST_SECONDS) -> float:
    return max(interval, min(interval * _SLOWER, slowest))


def _too_late(what: str, timeout: float, value: object) -> str:
    return f"not within {timeout:g} s: {what}; the last value was {value!r}"
