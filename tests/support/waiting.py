"""Wait for something by asking again until a deadline; never sleep and hope."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def poll(fn: Callable[[], T], *, timeout: float = 10.0, interval: float = 0.02, what: str = "the condition") -> T:
    """The first truthy value of `fn`, asked every `interval` seconds.

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


def _too_late(what: str, timeout: float, value: object) -> str:
    return f"not within {timeout:g} s: {what}; the last value was {value!r}"
