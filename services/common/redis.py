"""A thin connection to Redis or Valkey: binary safe, with a timeout on everything. And the text of scripts."""

from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    TimeoutError,
    TryAgainError,
)

from services.common.settings import RedisSettings

# "Not now": the same command may pass later. Anything else that Redis says is a fault of ours.
REDIS_OUTAGES: tuple[type[Exception], ...] = (
    ConnectionError,
    TimeoutError,
    BusyLoadingError,
    ReadOnlyError,
    OutOfMemoryError,
    ClusterDownError,
    MasterDownError,
    TryAgainError,
    OSError,
)


class _Broken:
    """Before redis-py's own class of a connection in the order of methods."""

    async def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        """Write a command. Where the server has just gone uvloop says RuntimeError, not OSError: an outage too."""
        try:
            await super().send_packed_command(*args, **kwargs)  # type: ignore[misc]
        except RuntimeError as error:
            raise ConnectionError(f"the connection is broken: {error}") from error


def connect(settings: RedisSettings) -> Redis:
    """A client that connects on its first command; the caller closes it (`aclose`). Keys and values are bytes.

    One immediate retry: a restarted server drops every idle connection, which is no outage.
    """
    redis = Redis.from_url(
        settings.url,
        socket_timeout=settings.timeout_seconds,
        socket_connect_timeout=settings.timeout_seconds,
        retry=Retry(NoBackoff(), 1),
        decode_responses=False,
    )
    pool = redis.connection_pool
    pool.connection_class = type("RedisConnection", (_Broken, pool.connection_class), {})
    return redis


def script(package: str, name: str) -> str:
    """The text of `lua/NAME.lua` of a package. Raises FileNotFoundError."""
    return resources.files(package).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
