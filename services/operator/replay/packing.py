"""Commands for Redis packed by hiredis: redis-py's asynchronous client packs them in Python, argument by argument.

A rebuild writes millions of arguments; packing them was a quarter of its time.
"""

from typing import Any

import hiredis
from redis.asyncio import Redis

from services.common.redis import connect
from services.common.settings import RedisSettings


class _Packed:
    """Before redis-py's own class of a connection in the order of methods."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """The bytes of one command; `SCRIPT LOAD` and its like are two words in one argument."""
        name = args[0].encode() if isinstance(args[0], str) else args[0]
        return [hiredis.pack_command((*name.split(), *args[1:]))]


def connect_to_write(settings: RedisSettings) -> Redis:
    """`services.common.redis.connect` for many big commands."""
    redis = connect(settings)
    pool = redis.connection_pool
    pool.connection_class = type("PackedConnection", (_Packed, pool.connection_class), {})
    return redis
