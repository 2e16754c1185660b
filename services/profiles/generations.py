"""The generations of profiles: their register, the pointer to the live one, and the switch between them."""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis

from contracts.marks import MarkName
from services.profiles.keys import FIRST_GENERATION, LIVE, REGISTER, WRITTEN
from services.profiles.scripts import SWITCH

State = Literal["building", "ready", "partial", "live"]


class Generation(BaseModel):
    """The register's entry of a generation.

    Attributes:
        state: `building`: a rebuild runs or was interrupted; `partial`: holds only a part of the log and can never
            be live; `ready`: complete up to its marks. Only the pointer says which one is live.
        made_at, live_until: ms; `live_until`: when readers were switched away; None if they were not.
        gaps: records that the log had already lost when it was read, one sentence each.
        note: the range of the log that was read, in words.
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
        """The live generation; `unset` if the pointer is not set."""
        found: Any = await self._redis.get(LIVE)
        return unset if found is None else str(found, "ascii")

    async def be_live_if_none_is(self, generation: str) -> None:
        """Set the pointer if it is not set (a new or emptied store)."""
        await self._redis.set(LIVE, generation, nx=True)

    async def switch(self, expected: str, to: str) -> str:
        """Point readers to `to` if they read `expected`; returns the generation that is live afterwards."""
        script = self._redis.register_script(SWITCH)
        found: bytes = await script(keys=[LIVE], args=[expected, to, FIRST_GENERATION])
        return found.decode()

    async def known(self) -> dict[str, Generation]:
        """Every registered generation, and the live one, by name."""
        noted: Any = await self._redis.hgetall(REGISTER)
        found = {name.decode(): Generation.model_validate_json(value) for name, value in noted.items()}
        found.setdefault(await self.live(), Generation(note="from the log's start"))
        return found

    async def note(self, name: str, generation: Generation) -> None:
        """Write the register's entry."""
        await self._redis.hset(REGISTER, name, generation.model_dump_json())

    async def forget(self, name: str) -> None:
        """Remove from the register; the generation's keys are not deleted."""
        await self._redis.hdel(REGISTER, name)

    async def say_written(self, generation: str, names: Iterable[MarkName]) -> None:
        """Record, for rebuilds, that the live consumer writes these partitions to this generation from now on."""
        fields: dict[Any, Any] = {name.field(): generation for name in names}
        if fields:
            await self._redis.hset(WRITTEN, mapping=fields)

    async def written(self) -> dict[str, str]:
        """Name of a mark -> the generation to which the live consumer writes the partition."""
        found: Any = await self._redis.hgetall(WRITTEN)
        return {name.decode(): generation.decode() for name, generation in found.items()}
