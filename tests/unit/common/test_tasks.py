"""Tasks are ended for certain."""

import asyncio
import contextlib

from services.common.process.loop import end


async def test_a_task_that_takes_the_first_cancels_for_its_own_is_ended_all_the_same():
    heard = []

    async def deaf(times: int) -> None:
        for _ in range(times):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            heard.append(times)
        await asyncio.sleep(60)

    async def fails() -> None:
        raise ValueError("its own")

    tasks = [asyncio.create_task(deaf(0)), asyncio.create_task(deaf(2)), asyncio.create_task(fails())]
    await asyncio.sleep(0)
    await asyncio.wait_for(end(*tasks), 10)
    assert all(task.done() for task in tasks)
    assert heard == [2, 2]
    assert isinstance(tasks[2].exception(), ValueError)
    await end()
