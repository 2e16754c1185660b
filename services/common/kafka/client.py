"""Thin connections to the log: one way to make a producer, topics, and to read a topic to its end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, TopicAlreadyExistsError, for_code

from contracts.topics import TOPICS, Topic, partitions_for
from services.common.settings import KafkaSettings

_UNKNOWN_TOPIC_SECONDS: Final = 3.0


def producer(settings: KafkaSettings, **overrides: Any) -> AIOKafkaProducer:
    """A producer whose acknowledgement means durable: acks=all, idempotent. The caller starts and stops it.

    No lingering: one acknowledged send takes 2.5 ms at linger 0 and 8 ms at 5; under load batches form by themselves.
    """
    return AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        request_timeout_ms=settings.request_timeout_ms,
        **overrides,
    )


async def ensure_topics(settings: KafkaSettings, topics: Sequence[Topic] = TOPICS) -> list[str]:
    """Create the topics that are missing, with their configuration; returns the names that were created."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        missing = set(await admin.list_topics())
        wanted = [topic for topic in topics if topic.name not in missing]
        created = [_new_topic(topic, settings) for topic in wanted]
        if created:
            _raise_errors(await admin.create_topics(created, timeout_ms=20_000))
        return [topic.name for topic in wanted]
    finally:
        await admin.close()


def _new_topic(topic: Topic, settings: KafkaSettings) -> NewTopic:
    return NewTopic(
        name=topic.name,
        num_partitions=partitions_for(topic, settings.partitions),
        replication_factor=settings.replication,
        topic_configs={**topic.config, "min.insync.replicas": str(settings.min_insync)},
    )


def _raise_errors(response: Any) -> None:
    for name, code, message in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(f"cannot create topic {name}: {message or error.__name__}")


async def wait_for_broker(settings: KafkaSettings, timeout_seconds: float = 60.0) -> None:
    """Return once a broker answers. Raises ConnectionError with the address after the timeout."""
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    while True:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
        try:
            await admin.start()
        except (KafkaConnectionError, OSError) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise ConnectionError(
                    f"no Kafka broker answered at {settings.bootstrap_servers} within {timeout_seconds:.0f} s; "
                    "is it running? The address is ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS"
                ) from error
            await asyncio.sleep(0.1)
        else:
            return
        finally:
            await admin.close()


async def read_to_end(settings: KafkaSettings, topic: str) -> AsyncIterator[list[Any]]:
    """Every record of a topic from its start to its end as of now, in batches, without a consumer group.

    Records are aiokafka ConsumerRecord. Of a compacted topic several records of a key may still come: the last counts.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    try:
        await consumer.start()
        asked = [TopicPartition(topic, p) for p in sorted(await partition_ids(consumer, topic))]
        # Before anything is fetched: behind a fetch that waits at an end every other answer waits half a second.
        ends: dict[Any, int] = await consumer.end_offsets(asked)
        partitions = [tp for tp in asked if ends[tp]]
        if not partitions:
            return
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        while True:
            positions = {tp: await consumer.position(tp) for tp in partitions}
            if all(positions[tp] >= ends[tp] for tp in partitions):
                return
            for records in (await consumer.getmany(timeout_ms=500, max_records=5_000)).values():
                yield records
    finally:
        await consumer.stop()


async def partition_ids(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    """The partitions of a topic as Kafka knows them now. Raises LookupError when there is no such topic.

    A broker may learn of a new topic late, and a busy one may answer late. So this retries for a while.
    """
    deadline = asyncio.get_running_loop().time() + _UNKNOWN_TOPIC_SECONDS
    while True:
        await refresh_metadata(consumer)
        found: set[int] | None = consumer.partitions_for_topic(topic)
        if found:
            return found
        if asyncio.get_running_loop().time() > deadline:
            raise LookupError(f"the log has no topic {topic}; `animusic topics` creates what is missing")
        await asyncio.sleep(0.1)


async def refresh_metadata(consumer: AIOKafkaConsumer) -> None:
    """Have a consumer ask for the topics and partitions of the log now, before `partitions_for_topic`.

    No public method does: `partitions_for_topic` only looks into what is known, and `topics()` does not keep what it
    asks. (kafka-python's issue 1774 is this fault; aiokafka 0.14 still has it.)
    """
    await consumer._client.force_metadata_update()
