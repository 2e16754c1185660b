"""Records of the log read once more by whoever looks at some listeners, or at a time."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.placement import partition_of
from services.common.kafka import partition_ids
from services.common.settings import KafkaSettings

# (topic, records done, records in all)
Tell = Callable[[str, int, int], None]


def _silent(_what: str, _done: int, _total: int) -> None:
    """Not told."""


async def records_of(
    settings: KafkaSettings,
    topic: str,
    users: Collection[str] | None = None,
    tell: Tell = _silent,
    *,
    since: int | None = None,
    until: int | None = None,
) -> AsyncGenerator[Any, None]:
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
        async with aclosing(read(consumer, starts, ends, partial(tell, topic))) as records:
            async for record in records:
                if keys is None or record.key in keys:
                    yield record
    finally:
        await consumer.stop()


async def read(
    consumer: Any,
    starts: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> AsyncGenerator[Any, None]:
    """The records from these offsets to before those, with a consumer that was started and has nothing else to do."""
    unread = {tp for tp in starts if starts[tp] < ends[tp]}
    total, done = sum(ends[tp] - starts[tp] for tp in unread), 0
    consumer.assign(list(unread))
    for tp in unread:
        consumer.seek(tp, starts[tp])
    while unread:
        for tp, records in (await consumer.getmany(timeout_ms=500, max_records=5_000)).items():
            done += len(records)
            for record in records:
                if record.offset < ends[tp]:
                    yield record
        tell(min(done, total), total)
        over = {tp for tp in unread if await consumer.position(tp) >= ends[tp]}
        consumer.pause(*over)
        unread -= over


async def first_time(settings: KafkaSettings, topic: str) -> int | None:
    """When the oldest record of a topic was written (ms); None where it holds none.

    Raises LookupError when there is no such topic, aiokafka's KafkaError.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        tps = [TopicPartition(topic, partition) for partition in await partition_ids(consumer, topic)]
        found = await consumer.offsets_for_times(dict.fromkeys(tps, 0))
        return min((place.timestamp for place in found.values() if place is not None), default=None)
    finally:
        await consumer.stop()


async def _places(consumer: Any, tps: list[TopicPartition], at: int, last: Mapping[Any, int]) -> dict[Any, int]:
    """The first offset at a time or after it; the end where there is none."""
    found = await consumer.offsets_for_times(dict.fromkeys(tps, at))
    return {tp: last[tp] if place is None else place.offset for tp, place in found.items()}
