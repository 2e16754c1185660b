"""The event loop of our processes: uvloop's where it exists, with a Kafka client that survives it.

A write on a connection that the other side has just closed raises RuntimeError in uvloop, where asyncio says nothing
and lets the reader find the end. aiokafka expects an OSError (its issue 1038, open): the RuntimeError ends the task
that keeps its metadata, and from then on `force_metadata_update()`, and all that waits for it, waits for ever. A
broker's restart is enough. redis-py has the same gap: `services.common.redis` closes it with a connection class.
"""

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import aiokafka.conn
from aiokafka.errors import KafkaConnectionError, KafkaError

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on the loop that our services use; the garbage collector skips what was imported."""
    freeze_gc()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's, or asyncio's where there is no uvloop (it has no Windows)."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    patch_aiokafka()
    return uvloop.new_event_loop()


def patch_aiokafka() -> None:
    """From now on, aiokafka's connections in this process treat uvloop's RuntimeError as a broken connection."""
    aiokafka.conn.AIOKafkaConnection = Connection


class Connection(aiokafka.conn.AIOKafkaConnection):  # type: ignore[misc]
    """Raises KafkaConnectionError, which aiokafka's clients handle, in place of RuntimeError."""

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Begin a request; the answer's future. Raises KafkaConnectionError where the connection has gone."""
        try:
            return super().send(request, expect_response)
        except (KafkaError, NotImplementedError):
            # RuntimeErrors too: what aiokafka's clients know, and a request of a version that the broker does not.
            raise
        except RuntimeError as error:
            self.close(reason=aiokafka.conn.CloseReason.CONNECTION_BROKEN, exc=error)
            raise KafkaConnectionError(f"connection at {self.host}:{self.port} broken: {error}") from error


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


def freeze_gc() -> None:
    """Later collections look only at what is made from here on.

    What is frozen is freed all the same when nothing refers to it any more, unless it refers to itself: so nothing big
    that is replaced some day may. What is young and dead goes first.
    """
    gc.collect(1)
    gc.freeze()
