"""Profiles as a sink of the consumer kit: effects by shard, marks of all shards of a partition."""

from collections.abc import Sequence

from contracts.marks import MarkName
from contracts.placement import shards_of_partition
from services.common.consuming.model import Claim, FlushResult, Poison, Record, Slice
from services.common.redis import REDIS_OUTAGES
from services.profiles.store import MergeCall, ProfileStore
from services.profiles.writes import Effect, ShardWrites, by_shard, effect_of


class ProfilesSink:
    """Merges feedback, anime lists and served playlists into one generation.

    A flush moves the marks of all shards of its partition: those that the partition has by placement, and those with a
    mark for it from the time when the topic had fewer partitions. A shard that is neither and has a record all the same
    (a wiped store reads such old partitions) is taken in by reading the partition again, so that its mark is true.
    """

    step = "profiles"
    outages = REDIS_OUTAGES

    def __init__(self, store: ProfileStore, *, live: bool) -> None:
        """`live`: readers are pointed here when they are pointed nowhere."""
        self._store = store
        self._live = live
        self._shards: dict[MarkName, set[int]] = {}

    def decode(self, record: Record) -> Effect | Poison:
        """See `writes.effect_of`."""
        return effect_of(record)

    async def marks(self, claims: Sequence[Claim]) -> dict[MarkName, int | None]:
        """The lowest mark of each partition's shards; None when one of them has none."""
        if self._live:
            await self._store.be_live_if_none_is()
        stored = await self._store.marks()
        found: dict[MarkName, int | None] = {}
        for name, _, partitions in claims:
            field = name.field()
            marked = {shard for shard, marks in enumerate(stored) if field in marks}
            known = self._shards.setdefault(name, set())
            known |= marked | set(shards_of_partition(name.partition, partitions))
            found[name] = min(stored[shard][field] for shard in known) if known == marked else None
        return found

    async def flush(self, slices: Sequence[Slice[Effect]]) -> FlushResult:
        """One script call a shard and slice, all in one round trip."""
        refused: dict[MarkName, int | None] = {}
        calls: list[MergeCall] = []
        names: dict[str, MarkName] = {}
        for part in slices:
            name = part.claim.name
            writes = by_shard([item.value for item in part.items])
            strangers = writes.keys() - self._shards[name]
            if strangers:
                self._shards[name] |= strangers
                refused[name] = None
                continue
            names[name.field()] = name
            calls += [
                MergeCall(shard, name.field(), part.after, part.upto, writes.get(shard, ShardWrites()))
                for shard in sorted(self._shards[name])
            ]
        for (_, field), mark in (await self._store.merge(calls)).items():
            refused[names[field]] = _lower(mark, refused.get(names[field], mark))
        return FlushResult(refused)


def _lower(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else min(one, other)
