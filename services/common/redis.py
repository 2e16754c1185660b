"""A thin connection to Redis or Valkey: binary safe, with a timeout on everything."""

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


def connect(settings: RedisSettings) -> Redis:
    """A client that connects on its first command; the caller closes it (`aclose`). Keys and values are bytes.

    One immediate retry: a restarted server drops every idle connection, which is no outage.
    """
    return Redis.from_url(
        settings.url,
        socket_timeout=settings.timeout_seconds,
        socket_connect_timeout=settings.timeout_seconds,
        retry=Retry(NoBackoff(), 1),
        decode_responses=False,
    )
