"""Which shards a partition's mark stands for, as far as one writer knows."""

from collections.abc import Iterable, Sequence

from contracts.marks import MarkName
from contracts.placement import shards_of_partition
from services.common.kafka.consuming.model import Assignment


class PartitionShards:
    """Mark name -> shards: those by placement, and those with a mark from when the topic had fewer partitions.

    A shard that is neither and has a record all the same (a new store reads such old partitions) is taken in by reading
    the partition again, so that its mark is true.
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
        """Whether there were strangers among these shards; they belong to the partition from now on."""
        known = self._known.setdefault(name, set())
        strangers = set(shards) - known
        known |= strangers
        return bool(strangers)
