"""The smallest honest sink: appends values to a list in Redis, with the mark in the same transaction."""

from collections.abc import Sequence

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, TimeoutError

from contracts.marks import MarkName
from services.common.consuming.model import Claim, FlushResult, Lost, Poison, Record, Slice, Unflushable

MARKS, VALUES = "appending:marks", "appending:values"


class AppendingSink:
    """Keeps every value once per flush that brought it, so that what came twice is seen.

    Values steer it: `poison` cannot be read, `heavy` can never be stored, `bug` raises what nobody expects.
    """

    step = "appending"
    outages: tuple[type[Exception], ...] = (ConnectionError, TimeoutError)

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.lost: set[Lost] = set()

    def decode(self, record: Record) -> bytes | Poison:
        return Poison("it says so itself") if record.value == b"poison" else record.value

    async def marks(self, claims: Sequence[Claim]) -> dict[MarkName, int | None]:
        stored = await self._redis.hgetall(MARKS)
        found = {claim.name: stored.get(claim.name.field().encode()) for claim in claims}
        return {name: None if mark is None else int(mark) for name, mark in found.items()}

    async def flush(self, slices: Sequence[Slice[bytes]]) -> FlushResult:
        stored = await self.marks([part.claim for part in slices])
        refused = {s.claim.name: stored[s.claim.name] for s in slices if (stored[s.claim.name] or 0) < s.after}
        taken = [part for part in slices if part.claim.name not in refused]
        values = [item.value for part in taken for item in part.items]
        if b"bug" in values:
            raise ZeroDivisionError("a mistake of ours")
        if b"heavy" in values:
            raise Unflushable("heavy")
        self.lost |= {lost for part in taken for lost in part.lost}
        async with self._redis.pipeline(transaction=True) as pipe:
            if values:
                pipe.rpush(VALUES, *values)
            for part in taken:
                pipe.hset(MARKS, part.claim.name.field(), part.upto)
            await pipe.execute()
        return FlushResult(refused)

    async def values(self) -> list[bytes]:
        """Everything that was appended, in order."""
        found: list[bytes] = await self._redis.lrange(VALUES, 0, -1)
        return found
