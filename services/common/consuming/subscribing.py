"""The FastStream side: a broker with one batch subscriber that hands on raw records, and never commits by itself.

What FastStream would do by default and must not: commit before or after a failed handler (ACK_FIRST, ACK), start a new
group at the log's end, create topics, decode headers and values one by one, log two lines a message, swallow a
handler's exception and go on. The handler that is given here must therefore raise nothing.
"""

import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from aiokafka import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from faststream.kafka import KafkaBroker
from faststream.kafka.message import FAKE_CONSUMER, KafkaAckableMessage
from faststream.middlewares import AckPolicy

from services.common.consuming.model import Record
from services.common.settings import KafkaSettings

_FETCH_BYTES = 4 * 1024 * 1024
# A fetch that gathers is answered as soon as there is so much: a consumer that lies behind never waits.
_GATHERED_BYTES = 1 << 18
# aiokafka's own.
_IDLE_FETCH_MS = 500
# A partition that was added, or a topic made again, is found within this time.
_METADATA_AGE_MS = 5_000
Handler = Callable[[Sequence[Record]], Awaitable[None]]
OnError = Callable[[BaseException], None]


class _Ear:
    """The broker's logger: what it says of errors in fetching reaches the log, and the one who decides about them."""

    def __init__(self, log: logging.Logger, on_error: OnError) -> None:
        self._log = log
        self._on_error = on_error

    def log(
        self,
        level: int,
        msg: Any,
        /,
        *_args: Any,
        exc_info: Any = None,
        extra: Mapping[str, Any] | None = None,
        stacklevel: int = 1,
    ) -> None:
        if level < logging.ERROR:
            return
        self._log.error("%s: %r", msg, exc_info)
        if isinstance(exc_info, BaseException):
            self._on_error(exc_info)


def instance_of(group: str, settings: KafkaSettings, partitions: Mapping[str, int]) -> str:
    """The name of a static member, which says how many partitions it saw when it started.

    A member that comes back under its name gets its old partitions again, and nobody is asked anew: partitions added
    while all were away would be nobody's. So who sees other numbers is another member, and the group shares out anew;
    the one that it was before is forgotten a session later. (Two assignors, one of them under a name that says the
    numbers, would do it at once, but aiokafka sends a request to join for each assignor, its pull request 1168: members
    that start together then interrupt each other's joining, perhaps for ever.)
    """
    words = ",".join(f"{topic}={count}" for topic, count in sorted(partitions.items()))
    seen = blake2b(words.encode(), digest_size=4).hexdigest()
    return f"{group}@{settings.instance or socket.gethostname()}.{seen}"


async def _raw(batch: tuple[Record, ...]) -> KafkaAckableMessage:
    """A message that only carries the fetched records: headers may hold any bytes, values are the sink's to read."""
    return KafkaAckableMessage(body=b"", raw_message=batch, consumer=FAKE_CONSUMER)


async def _records(message: Any) -> Any:
    return message.raw_message


@dataclass
class Subscription:
    """A broker and its only subscriber."""

    broker: KafkaBroker
    _subscriber: Any

    async def start(self) -> None:
        """Return once partitions are assigned and the listener has been called."""
        await self.broker.start()

    @property
    def consumer(self) -> Any:
        """aiokafka's consumer; None unless it was started."""
        return self._subscriber.consumer


def batch_broker(
    settings: KafkaSettings,
    partitions: Mapping[str, int],
    handler: Handler,
    listener: ConsumerRebalanceListener,
    on_error: OnError,
    *,
    group: str,
    step: str,
    max_records: int,
    wait_ms: int,
    gather_ms: int,
) -> Subscription:
    """A broker with its subscriber to these topics, with the partitions that each has now; not started yet.

    `gather_ms`: how long the log may wait for more before it answers a fetch; 0: it answers with the first record.
    """
    broker = KafkaBroker(
        # FastStream takes a string for one broker, commas and all.
        settings.bootstrap_servers.split(","),
        client_id=f"animusic-{step}",
        request_timeout_ms=settings.request_timeout_ms,
        metadata_max_age_ms=_METADATA_AGE_MS,
        consumer_only=True,
        allow_auto_create_topics=False,
        apply_types=False,
        graceful_timeout=10.0,
        logger=_Ear(logging.getLogger(f"animusic.{step}"), on_error),
    )
    subscriber = broker.subscriber(
        *partitions,
        batch=True,
        max_records=max_records,
        batch_timeout_ms=wait_ms,
        group_id=group,
        group_instance_id=instance_of(group, settings, partitions),
        session_timeout_ms=round(1000 * settings.session_seconds),
        heartbeat_interval_ms=round(300 * settings.session_seconds),
        ack_policy=AckPolicy.MANUAL,
        auto_offset_reset="earliest",
        partition_assignment_strategy=[RoundRobinPartitionAssignor],
        max_partition_fetch_bytes=_FETCH_BYTES,
        fetch_min_bytes=_GATHERED_BYTES if gather_ms else 1,
        fetch_max_wait_ms=gather_ms or _IDLE_FETCH_MS,
        listener=listener,
        no_reply=True,
        parser=_raw,
        decoder=_records,
    )
    subscriber(handler)
    return Subscription(broker, subscriber)
