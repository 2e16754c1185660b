"""The smallest honest sink: appends values to a list in Redis, with the mark in the same transaction."""

from collections.abc import Sequence

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, TimeoutError

from contracts.evolution.versions import NewerSchema
from contracts.marks import MarkName
from services.common.kafka.consuming.model import Assignment, FlushResult, Gap, Poison, Record, Slice, Unflushable

MARKS, VALUES = "appending:marks", "appending:values"


class AppendingSink:
    """Keeps every value once per flush that brought it, so that what came twice is seen.

    Values steer it: `poison` cannot be read, `newer` only after an upgrade (`upgraded`), `heavy` can never be stored,
    `bug` raises an unexpected error.
    """

    step = "appending"
    outages: tuple[type[Exception], ...] = (ConnectionError, TimeoutError)

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.gaps: set[Gap] = set()
        self.upgraded = False

    def decode(self, record: Record) -> bytes | Poison:
        if record.value == b"newer" and not self.upgraded:
            raise NewerSchema(2, 1)
        return Poison("it says so itself") if record.value == b"poison" else record.value

    async def marks(self, assignments: Sequence[Assignment]) -> dict[MarkName, int | None]:
        stored = await self._redis.hgetall(MARKS)
        found = {assignment.name: stored.get(assignment.name.field().encode()) for assignment in assignments}
        return {name: None if mark is None else int(mark) for name, mark in found.items()}

    async def flush(self, slices: Sequence[Slice[bytes]]) -> FlushResult:
        stored = await self.marks([part.assignment for part in slices])
        refused = {
            s.assignment.name: stored[s.assignment.name] for s in slices if (stored[s.assignment.name] or 0) < s.after
        }
        taken = [part for part in slices if part.assignment.name not in refused]
        values = [item.value for part in taken for item in part.items]
        if b"bug" in values:
            raise ZeroDivisionError("a mistake of ours")
        if b"heavy" in values:
            raise Unflushable("heavy")
        self.gaps |= {gap for part in taken for gap in part.gaps}
        async with self._redis.pipeline(transaction=True) as pipe:
            if values:
                pipe.rpush(VALUES, *values)
            for part in taken:
                pipe.hset(MARKS, part.assignment.name.field(), part.upto)
            await pipe.execute()
        return FlushResult(refused)

    async def values(self) -> list[bytes]:
        """Everything that was appended, in order."""
        found: list[bytes] = await self._redis.lrange(VALUES, 0, -1)
        return found
