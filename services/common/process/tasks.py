"""Ending tasks for certain."""

import asyncio
from typing import Any, Final

_AGAIN_SECONDS: Final = 0.5


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and return when all are over; what they raise is theirs.

    One cancel may not do: a client of aiokafka that is closing takes it for the end of a task of its own, and whoever
    closed it goes on as if nothing had been said.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_SECONDS)
