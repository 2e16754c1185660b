"""The consumer's sink for profiles: effects by shard, marks of all shards of a partition."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.marks import MarkName
from services.common.kafka.consuming.model import Assignment, FlushResult, Poison, Record, Slice
from services.common.redis import REDIS_OUTAGES, connect
from services.common.settings import RedisSettings
from services.profiles.generations import Generations
from services.profiles.shards import PartitionShards
from services.profiles.store import ProfileStore
from services.profiles.writes import Effect, MergeCall, by_shard, calls_of, effect_of

# Readers cache the pointer for a second and wait half a second for a receipt's mark. For this long they may still read
# the former generation, which must not become stale.
GRACE_SECONDS = 2.0
LOOK_SECONDS = 0.5


class ProfilesSink:
    """Merges feedback, anime lists and served playlists into one generation.

    With `pointer` it follows the live generation. If the pointer is not set, it sets it to its own generation. If the
    pointer moves to another generation, the sink continues in that one, from that one's marks, once no reader uses the
    former. It records this in the store, so that a rebuild can stop writing to the new generation.

    A flush moves the marks of all shards of its partition (see PartitionShards).
    """

    step = "profiles"
    outages = REDIS_OUTAGES

    def __init__(
        self,
        store: ProfileStore,
        pointer: Generations | None = None,
        shards: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        """`shards`: name of a mark -> known shards that it covers in addition to those by placement."""
        self._store = store
        self._pointer = pointer
        self._shards = PartitionShards()
        for name, more in (shards or {}).items():
            self._shards.take_in(MarkName.parse(name), more)
        self._assignments: list[Assignment] = []
        self._looked_at = float("-inf")
        self._moved_at: float | None = None
        self._log = logging.getLogger("animusic.profiles")

    @property
    def generation(self) -> str:
        """The generation that is written now."""
        return self._store.generation

    def decode(self, record: Record) -> Effect | Poison:
        """See `writes.effect_of`."""
        return effect_of(record)

    async def marks(self, assignments: Sequence[Assignment]) -> dict[MarkName, int | None]:
        """The lowest mark of each partition's shards; None when one of them has none."""
        self._assignments = list(assignments)
        if self._pointer is not None:
            await self._pointer.be_live_if_none_is(self.generation)
            await self._follow(self._pointer)
            await self._pointer.say_written(self.generation, [assignment.name for assignment in assignments])
        return await self._lowest(assignments)

    async def flush(self, slices: Sequence[Slice[Effect]]) -> FlushResult:
        """Merge by short script calls; the last one of each shard and slice moves the mark.

        If the pointer moved to another generation meanwhile, every partition is refused with that generation's mark, so
        that its records are read again into the new generation, including those of idle partitions.
        """
        due = time.monotonic() - self._looked_at > LOOK_SECONDS
        if self._pointer is None or not due or not await self._follow(self._pointer):
            return await self._merge(slices)
        await self._pointer.say_written(self.generation, [assignment.name for assignment in self._assignments])
        return FlushResult(await self._lowest(self._assignments))

    async def _lowest(self, assignments: Sequence[Assignment]) -> dict[MarkName, int | None]:
        return self._shards.lowest(assignments, await self._store.marks())

    async def _merge(self, slices: Sequence[Slice[Effect]]) -> FlushResult:
        refused: dict[MarkName, int | None] = {}
        calls: list[MergeCall] = []
        names: dict[str, MarkName] = {}
        for part in slices:
            name = part.assignment.name
            writes = by_shard(item.value for item in part.items)
            if self._shards.take_in(name, writes):
                refused[name] = None
                continue
            names[name.field()] = name
            calls += calls_of(name, part.after, part.upto, self._shards.of(name), writes)
        for (_, field), mark in (await self._store.merge(calls)).items():
            refused[names[field]] = _lower(mark, refused.get(names[field], mark))
        return FlushResult(refused)

    async def _follow(self, pointer: Generations) -> bool:
        """Switch to the live generation, if it is another one, after GRACE_SECONDS; returns whether it did."""
        now = time.monotonic()
        self._looked_at = now
        live = await pointer.live(unset=self.generation)
        if live == self.generation:
            self._moved_at = None
            return False
        if self._moved_at is None:
            self._moved_at = now
            self._log.info(
                "readers switched from generation %s to %s; following in %g s", self.generation, live, GRACE_SECONDS
            )
        if now - self._moved_at < GRACE_SECONDS:
            return False
        self._log.warning("writing generation %s from its own marks; %s is not written any more", live, self.generation)
        self._store, self._shards, self._moved_at = self._store.other(live), PartitionShards(), None
        return True


def shadow_sink(options: Mapping[str, Any], _hand_over: object) -> ProfilesSink:
    """The sink of a rebuild's worker (see services.rebuild): `redis` (settings), `generation`, `shards`."""
    redis = connect(RedisSettings.model_validate(options["redis"]))
    return ProfilesSink(ProfileStore(redis, options["generation"]), shards=options["shards"])


def _lower(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else min(one, other)
