"""The generations of profiles: which there are, which one readers read, and the one switch from one to another."""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis

from contracts.marks import MarkName
from services.profiles.keys import FIRST_GENERATION, LIVE, REGISTER, WRITTEN
from services.profiles.scripts import SWITCH

State = Literal["building", "ready", "partial", "live"]


class Generation(BaseModel):
    """What is noted of a generation.

    Attributes:
        state: `building`: a rebuild goes on in it or was interrupted; `partial`: holds a part of the log only and can
            never be live; `ready`: complete as of its marks. Which one is live, the pointer alone says.
        made_at, live_until: ms; `live_until` is when readers were pointed elsewhere, None: they never were.
        gaps: what the log did not have any more when it was read, one sentence each.
        note: from where to where it was read, in words.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    state: State = "ready"
    made_at: int = 0
    live_until: int | None = None
    gaps: tuple[str, ...] = ()
    note: str = ""


class Generations:
    """The pointer and the register. Every method may raise redis.exceptions.RedisError."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def live(self, *, unset: str = FIRST_GENERATION) -> str:
        """The generation that readers read; `unset` while the pointer points nowhere."""
        found: Any = await self._redis.get(LIVE)
        return unset if found is None else str(found, "ascii")

    async def be_live_if_none_is(self, generation: str) -> None:
        """Point readers here when they are pointed nowhere (a new or wiped store)."""
        await self._redis.set(LIVE, generation, nx=True)

    async def switch(self, expected: str, to: str) -> str:
        """Point readers to `to` if they read `expected`; returns the generation that is live afterwards."""
        script = self._redis.register_script(SWITCH)
        found: bytes = await script(keys=[LIVE], args=[expected, to, FIRST_GENERATION])
        return found.decode()

    async def known(self) -> dict[str, Generation]:
        """Every generation that is noted, and the live one, by name."""
        noted: Any = await self._redis.hgetall(REGISTER)
        found = {name.decode(): Generation.model_validate_json(value) for name, value in noted.items()}
        found.setdefault(await self.live(), Generation(note="from the log's start"))
        return found

    async def note(self, name: str, generation: Generation) -> None:
        """Note, or note anew."""
        await self._redis.hset(REGISTER, name, generation.model_dump_json())

    async def forget(self, name: str) -> None:
        """Strike off the register; its keys are another matter."""
        await self._redis.hdel(REGISTER, name)

    async def say_written(self, generation: str, names: Iterable[MarkName]) -> None:
        """Tell whoever rebuilds that the live consumer writes these partitions to this generation from now on."""
        fields: dict[Any, Any] = {name.field(): generation for name in names}
        if fields:
            await self._redis.hset(WRITTEN, mapping=fields)

    async def written(self) -> dict[str, str]:
        """Name of a mark -> the generation to which the live consumer said last that it writes the partition."""
        found: Any = await self._redis.hgetall(WRITTEN)
        return {name.decode(): generation.decode() for name, generation in found.items()}
