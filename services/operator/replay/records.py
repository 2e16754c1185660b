"""Records of the log read once more by whoever looks at some listeners, or at a time."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.placement import partition_of
from services.common.kafka import partition_ids
from services.common.settings import KafkaSettings

# (topic, records done, records in all)
Tell = Callable[[str, int, int], None]


def _silent(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""


async def records_of(
    settings: KafkaSettings,
    topic: str,
    users: Collection[str] | None = None,
    tell: Tell = _silent,
    *,
    since: int | None = None,
    until: int | None = None,
) -> AsyncIterator[Any]:
    """The records of these users in a topic, or of all, between two times (ms) and until now at most.

    Records are aiokafka ConsumerRecord, in the order of each partition. No consumer group is joined.
    Raises LookupError when there is no such topic, aiokafka's KafkaError.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        there = await partition_ids(consumer, topic)
        keys = None if users is None else {user_id.encode() for user_id in users}
        wanted = there if users is None else {partition_of(user_id, len(there)) for user_id in users}
        tps = [TopicPartition(topic, partition) for partition in sorted(wanted)]
        if not tps:
            return
        last = await consumer.end_offsets(tps)
        starts = await _places(consumer, tps, since, last) if since else await consumer.beginning_offsets(tps)
        ends = await _places(consumer, tps, until, last) if until else last
        open_ = {tp for tp in tps if starts[tp] < ends[tp]}
        total, done = sum(ends[tp] - starts[tp] for tp in open_), 0
        consumer.assign(list(open_))
        for tp in open_:
            consumer.seek(tp, starts[tp])
        while open_:
            for tp, records in (await consumer.getmany(timeout_ms=500, max_records=5_000)).items():
                done += len(records)
                for record in records:
                    if record.offset < ends[tp] and (keys is None or record.key in keys):
                        yield record
            tell(topic, min(done, total), total)
            over = {tp for tp in open_ if await consumer.position(tp) >= ends[tp]}
            consumer.pause(*over)
            open_ -= over
    finally:
        await consumer.stop()


async def first_time(settings: KafkaSettings, topic: str) -> int | None:
    """When the oldest record of a topic was written (ms); None where it holds none.

    Raises LookupError when there is no such topic, aiokafka's KafkaError.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        tps = [TopicPartition(topic, partition) for partition in await partition_ids(consumer, topic)]
        starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        open_ = {tp for tp in tps if starts[tp] < ends[tp]}
        consumer.assign(list(open_))
        for tp in open_:
            consumer.seek(tp, starts[tp])
        found: dict[Any, int] = {}
        while open_ - found.keys():
            for tp, records in (await consumer.getmany(timeout_ms=500, max_records=100)).items():
                found.setdefault(tp, records[0].timestamp)
        return min(found.values(), default=None)
    finally:
        await consumer.stop()


async def _places(consumer: Any, tps: list[TopicPartition], at: int, last: Mapping[Any, int]) -> dict[Any, int]:
    """The first offset at a time or after it; the end where there is none."""
    found = await consumer.offsets_for_times(dict.fromkeys(tps, at))
    return {tp: last[tp] if place is None else place.offset for tp, place in found.items()}
