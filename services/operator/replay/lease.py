"""One rebuild at a time: a lease in Redis with its owner's name, renewed while it lives."""

import asyncio
import os
import socket
import time
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import psutil
from pydantic import BaseModel
from redis.asyncio import Redis

from services.common.redis import REDIS_OUTAGES, script

KEY: Final = "animusic:replay"
_EXPIRES_MS: Final = 15_000
_RENEW_SECONDS: Final = 2.0

_RENEW: Final = script("services.operator", "renew_lease")
_DELETE_IF_EQUAL: Final = script("services.operator", "delete_if_equal")


class Holder(BaseModel):
    """Who holds the lease, for people and for `animusic status`. `since` in ms; `doing` in words."""

    what: str
    generation: str
    host: str
    pid: int
    process_began: float
    since: int
    doing: str = ""

    def __str__(self) -> str:
        began = datetime.fromtimestamp(self.since / 1000, UTC).strftime("%H:%M:%S UTC")
        return f"{self.what} into generation {self.generation}, begun {began} by process {self.pid} on {self.host}"

    def is_dead(self) -> bool:
        """Whether it ran on this very host and does not any more."""
        if self.host != socket.gethostname():
            return False
        try:
            return bool(psutil.Process(self.pid).create_time() != self.process_began)
        except psutil.Error:
            return True


async def holder(redis: Redis) -> Holder | None:
    """Who rebuilds now, or None."""
    found: Any = await redis.get(KEY)
    return None if found is None else Holder.model_validate_json(found[32:])


class Lease:
    """`await take()`, then `keep()` as a task; `lost` says that somebody else has it (this process was frozen)."""

    def __init__(self, redis: Redis, what: str, generation: str = "(not chosen yet)") -> None:
        self._redis = redis
        self._token = uuid4().hex
        process = psutil.Process()
        self._me = Holder(
            what=what,
            generation=generation,
            host=socket.gethostname(),
            pid=os.getpid(),
            process_began=process.create_time(),
            since=time.time_ns() // 1_000_000,
        )
        self.doing = ""
        self.lost = False

    async def take(self) -> None:
        """Raises RuntimeError with the holder when there is one; one that was killed on this host does not count."""
        if await self._set():
            return
        found: Any = await self._redis.get(KEY)
        other = None if found is None else Holder.model_validate_json(found[32:])
        if found is not None and other is not None and other.is_dead():
            await self._redis.register_script(_DELETE_IF_EQUAL)(keys=[KEY], args=[found])
        if not await self._set():
            now = await holder(self._redis) or other
            raise RuntimeError(
                f"refused: one rebuild at a time, and this one goes on: {now}. Wait for it, or stop it with Ctrl-C "
                f"there; after a crash its lease ends by itself within {_EXPIRES_MS // 1000} s"
            )

    def into(self, generation: str) -> None:
        """Say which generation is written."""
        self._me = self._me.model_copy(update={"generation": generation})

    async def _set(self) -> bool:
        return bool(await self._redis.set(KEY, self._value(), nx=True, px=_EXPIRES_MS))

    def _value(self) -> str:
        return self._token + self._me.model_copy(update={"doing": self.doing}).model_dump_json()

    async def keep(self) -> None:
        """Renew for ever; ends when it is lost. An outage of the store is waited out."""
        renew = self._redis.register_script(_RENEW)
        while not self.lost:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                held: Any = await renew(keys=[KEY], args=[self._token, self._value()[32:], _EXPIRES_MS])
                self.lost = not held
            except REDIS_OUTAGES:
                continue

    async def release(self) -> None:
        """Give it back, if it is still ours."""
        found: Any = await self._redis.get(KEY)
        if found is not None and found[:32].decode() == self._token:
            await self._redis.register_script(_DELETE_IF_EQUAL)(keys=[KEY], args=[found])
