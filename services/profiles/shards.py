"""Which shards a partition's mark covers, as far as one writer knows."""

from collections.abc import Iterable, Sequence

from contracts.marks import MarkName
from contracts.placement import shards_of_partition
from services.common.kafka.consuming.model import Assignment


class PartitionShards:
    """Mark name -> shards: those by placement, and those with a mark from when the topic had fewer partitions.

    A new store may read records of other shards from old partitions. Such a shard is added, and the partition is read
    again, so that the shard's mark is correct.
    """

    def __init__(self) -> None:
        self._known: dict[MarkName, set[int]] = {}

    def of(self, name: MarkName) -> list[int]:
        """The shards whose marks move with this partition, ascending."""
        return sorted(self._known[name])

    def lowest(self, assignments: Sequence[Assignment], stored: Sequence[dict[str, int]]) -> dict[MarkName, int | None]:
        """The lowest mark of each assignment's shards, given all shards' marks; None when one of them has none."""
        found: dict[MarkName, int | None] = {}
        for name, _, partitions in assignments:
            field = name.field()
            marked = {shard for shard, marks in enumerate(stored) if field in marks}
            known = self._known.setdefault(name, set())
            known |= marked | set(shards_of_partition(name.partition, partitions))
            found[name] = min(stored[shard][field] for shard in known) if known == marked else None
        return found

    def take_in(self, name: MarkName, shards: Iterable[int]) -> bool:
        """Add these shards to the partition; returns whether any of them was new."""
        known = self._known.setdefault(name, set())
        strangers = set(shards) - known
        known |= strangers
        return bool(strangers)
