"""Many commands to the store over one connection, a few of them in flight, packed by hiredis.

The store takes in whatever it finds of one client before it turns to the next: who asks for a profile meanwhile waits
for what is in flight, and no longer. redis-py's pipeline sends all of it at once, and packs argument by argument in
Python, which took a quarter of a rebuild's time.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import hiredis
from redis.asyncio import Redis

# Written or read: about a millisecond of the store.
FIELDS_IN_FLIGHT: Final = 300


class Command(NamedTuple):
    """About how many fields it writes or reads, how many answers it gets, and its bytes, packed when it is its turn."""

    fields: int
    answers: int
    pack: Callable[[], bytes]


def pack(*command: Any) -> bytes:
    """The bytes of one command."""
    packed: bytes = hiredis.pack_command(command)
    return packed


async def send(redis: Redis, commands: Sequence[Command]) -> list[Any]:
    """The answers, in order, as the store gives them: no callback of redis-py's has changed them.

    Raises redis.exceptions.RedisError; any of the commands may then have been carried out.
    """
    pool: Any = redis.connection_pool
    connection = await pool.get_connection()
    try:
        # As of any command: what was in flight when a connection broke is sent again on a new one.
        answers: list[Any] = await connection.retry.call_with_retry(
            lambda: _through(connection, commands), lambda error: connection.disconnect(nowait=True)
        )
        return answers
    finally:
        await pool.release(connection)


async def _through(connection: Any, commands: Sequence[Command]) -> list[Any]:
    """Keep the store busy, and hardly longer than one command."""
    answers: list[Any] = []
    waiting, flying, fields = deque(commands), deque[int](), 0
    try:
        while waiting or flying:
            packed: list[bytes] = []
            # Several at once: sending costs more than packing where they are small.
            if fields <= FIELDS_IN_FLIGHT // 2:
                while waiting and (not flying or fields + waiting[0].fields <= FIELDS_IN_FLIGHT):
                    command = waiting.popleft()
                    flying.extend([0] * (command.answers - 1) + [command.fields])
                    fields += command.fields
                    packed.append(command.pack())
            if packed:
                await connection.send_packed_command(packed)
            answers.append(await connection.read_response())
            fields -= flying.popleft()
    except BaseException:
        # The answers that are still to come are nobody's.
        await connection.disconnect(nowait=True)
        raise
    return answers
