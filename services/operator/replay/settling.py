"""Comparing users who never come to rest: what lies between the marks is added to both sides.

A side holds everything before its mark, and perhaps some of what comes after it (a flush under way). So read both sides
and their marks, then the log from the lower mark to its end as of after that, and merge it into both: since merging is
idempotent and has no order, both must then be the same. A value that is wrong and higher than what the log says stays.
"""

from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from contracts.fold import merge_stored
from contracts.placement import partition_of_shard, shard_of
from services.common.kafka.consuming.model import Poison
from services.common.settings import KafkaSettings
from services.operator.parity import Parity
from services.operator.readers.redis import Hash, stored_of
from services.operator.replay.records import read
from services.profiles.keys import ShardKeys
from services.profiles.writes import HISTORY_LISTS, ShardWrites, effect_of
from services.rebuild.job import Partition

_FARTHEST = 200_000


async def settle(
    kafka: KafkaSettings,
    redis: Redis,
    parity: Parity,
    partitions: Sequence[Partition],
    shards: Mapping[str, Sequence[int]],
) -> None:
    """Compare who is unsettled; those remain whose marks lie more than 200,000 records before the end of the log.

    `shards`: name of a mark -> shards that it covers, beside those by placement.

    Raises redis.exceptions.RedisError, aiokafka's KafkaError.
    """
    names, parity.unsettled = parity.unsettled, []
    sides = [await _sides(redis, parity, name) for name in names]
    lowest: dict[TopicPartition, int] = {}
    for name, (marks, _) in zip(names, sides, strict=True):
        for partition in _of_shard(shard_of(name[2:]), partitions, shards):
            tp = TopicPartition(partition.topic, partition.partition)
            mark = max(partition.begin, min(marks[side].get(partition.field, 0) for side in (0, 1)))
            lowest[tp] = min(mark, lowest.get(tp, mark))
    between = await _between(kafka, lowest, {name[2:] for name in names})
    if between is None:
        parity.unsettled = names
        return
    for name, (_, hashes) in zip(names, sides, strict=True):
        writes = between.get(name[2:], ShardWrites())
        parity.count(name, *(_joined(name, stored, writes) for stored in hashes))


def _of_shard(shard: int, partitions: Sequence[Partition], shards: Mapping[str, Sequence[int]]) -> list[Partition]:
    """The partitions in which a shard's records lie: by placement, and those whose marks it has."""
    return [
        p
        for p in partitions
        if p.partition == partition_of_shard(shard, p.partitions) or shard in shards.get(p.field, ())
    ]


async def _sides(redis: Redis, parity: Parity, name: str) -> tuple[list[dict[str, int]], list[Hash]]:
    """Both sides' marks and hashes, at one moment: one after the other in a transaction, all of one slot."""
    keys = [ShardKeys.of(side, shard_of(name[2:])) for side in (parity.left, parity.right)]
    pipe = redis.pipeline(transaction=True)
    for side in keys:
        pipe.hgetall(side.marks)
        pipe.hgetall(side.prefix + name)
    left_marks, left, right_marks, right = await pipe.execute()
    marks = [{field.decode(): int(mark) for field, mark in found.items()} for found in (left_marks, right_marks)]
    return marks, [stored_of(found) for found in (left, right)]


async def _between(
    kafka: KafkaSettings, lowest: Mapping[TopicPartition, int], users: set[str]
) -> dict[str, ShardWrites] | None:
    """What the log says of these users from these offsets on, by user; None when that is too much."""
    if not lowest:
        return {}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(list(lowest))
        if sum(max(0, ends[tp] - mark) for tp, mark in lowest.items()) > _FARTHEST:
            return None
        keys, found = {user_id.encode() for user_id in users}, dict[str, ShardWrites]()
        async for record in read(consumer, lowest, ends):
            effect = effect_of(record) if record.key in keys else Poison("")
            if not isinstance(effect, Poison):
                found.setdefault(effect.user_id, ShardWrites()).add(effect)
        return found
    finally:
        await consumer.stop()


def _joined(name: str, stored: Hash, writes: ShardWrites) -> Hash:
    """A user's or a history's fields with these writes merged in, as the store would."""
    user_id = name[2:]
    if user_id in writes.forgotten:
        return {}
    if name[:1] == "h":
        entries = {served.playlist_id.encode(): served.entry for served in writes.served.values()}
        merged = {key: max(stored.get(key, b""), entries.get(key, b"")) for key in stored.keys() | entries.keys()}
        newest = sorted(merged.items(), key=lambda item: (item[1], item[0]), reverse=True)[:HISTORY_LISTS]
        return dict(newest)
    merged = dict(stored)
    for field, value in writes.fields().get(user_id, {}).items():
        merge_stored(merged, field, value)
    return merged
