"""Cancels tasks reliably."""

import asyncio
from typing import Any, Final

_AGAIN_SECONDS: Final = 0.5


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and return when all have ended. Their exceptions are ignored.

    One cancel may not suffice: a closing aiokafka client can swallow it as the end of a task of its own, and its
    caller goes on.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_SECONDS)
