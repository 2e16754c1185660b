"""Where a user's data is: shard, partition, Redis hash tag.

The number of shards never changes. A partition holds whole shards (`shard % partitions`), so adding partitions
moves whole shards and never splits one.
"""

from hashlib import blake2b
from typing import Final

SHARDS: Final = 64


def shard_of(user_id: str) -> int:
    """The shard of a user, in [0, SHARDS)."""
    return int.from_bytes(blake2b(user_id.encode(), digest_size=8).digest(), "big") % SHARDS


def partition_of_shard(shard: int, partitions: int) -> int:
    """The partition, in a topic of `partitions` partitions, that takes a shard's records."""
    return shard % partitions


def partition_of(user_id: str, partitions: int) -> int:
    """The partition that takes a user's records."""
    return partition_of_shard(shard_of(user_id), partitions)


def shards_of_partition(partition: int, partitions: int) -> list[int]:
    """The shards whose records go to a partition, ascending."""
    return list(range(partition, SHARDS, partitions))


def shard_tag(shard: int) -> str:
    """The Redis cluster hash tag of a shard, braces included."""
    return f"{{s{shard:02d}}}"
