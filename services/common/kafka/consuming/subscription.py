"""The FastStream side: a broker with one batch subscriber that hands on raw records, and never commits by itself.

What FastStream would do by default and must not: commit before or after a failed handler (ACK_FIRST, ACK), start a new
group at the log's end, create topics, decode headers and values one by one, log two lines a message, swallow a
handler's exception and go on. The handler that is given here must therefore raise nothing. It also repeats for ever
what fails in fetching, and tells only its log: `on_error` is called with each of these errors.
"""

import asyncio
import itertools
import logging
import random
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from aiokafka import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import ConsumerStoppedError, InconsistentGroupProtocolError, KafkaError
from faststream.kafka import KafkaBroker
from faststream.kafka.message import FAKE_CONSUMER, KafkaAckableMessage
from faststream.middlewares import AckPolicy

from services.common.kafka.consuming.model import Record
from services.common.settings import KafkaSettings

_FETCH_BYTES: Final = 4 * 1024 * 1024
# A fetch that gathers is answered as soon as there is so much: a consumer that lies behind never waits.
_GATHERED_BYTES: Final = 1 << 18
# aiokafka's own.
_IDLE_FETCH_MS: Final = 500
# So long a client waits for its fetches; it wakes when the first record comes.
_LONGEST_WAIT_MS: Final = 1_000
# A partition that was added, or a topic made again, is found within this time.
_METADATA_AGE_MS = 5_000
_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 2.0
Handler = Callable[[Sequence[Record]], Awaitable[None]]
OnError = Callable[[BaseException], None]


def instance_of(group: str, settings: KafkaSettings, partitions: Mapping[str, int]) -> str:
    """The name of a static member, which says how many partitions it saw when it started.

    A member that comes back under its name gets its old partitions again without a rebalance: partitions added while
    all were away would not be assigned. So who sees other numbers is another member, and there is a rebalance; the one
    that it was before is forgotten a session later. (Two assignors, one of them under a name that says the numbers,
    would do it at once, but aiokafka sends a request to join for each assignor, its pull request 1168: members that
    start together then interrupt each other's joining, perhaps for ever.)
    """
    words = ",".join(f"{topic}={count}" for topic, count in sorted(partitions.items()))
    seen = blake2b(words.encode(), digest_size=4).hexdigest()
    return f"{group}@{settings.instance or socket.gethostname()}.{seen}"


async def _raw(batch: tuple[Record, ...]) -> KafkaAckableMessage:
    """A message that only carries the fetched records: headers may hold any bytes, values are the sink's to read."""
    return KafkaAckableMessage(body=b"", raw_message=batch, consumer=FAKE_CONSUMER)


async def _records(message: Any) -> Any:
    return message.raw_message


class Subscription:
    """A broker and its only subscriber, to topics with the partitions that each has now; not started yet.

    `gather_ms`: how long the log may wait for more before it answers a fetch; 0: it answers with the first record.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        partitions: Mapping[str, int],
        handler: Handler,
        listener: ConsumerRebalanceListener,
        on_error: OnError,
        *,
        group: str,
        step: str,
        max_records: int,
        gather_ms: int,
    ) -> None:
        log = logging.getLogger(f"animusic.{step}.faststream")
        log.setLevel(logging.ERROR)
        self.broker = KafkaBroker(
            # FastStream takes a string for one broker, commas and all.
            settings.bootstrap_servers.split(","),
            client_id=f"animusic-{step}",
            request_timeout_ms=settings.request_timeout_ms,
            metadata_max_age_ms=_METADATA_AGE_MS,
            consumer_only=True,
            allow_auto_create_topics=False,
            apply_types=False,
            graceful_timeout=10.0,
            logger=log,
        )
        self._subscriber = self.broker.subscriber(
            *partitions,
            batch=True,
            max_records=max_records,
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
        self._subscriber(handler)
        self._fetch(max_records, on_error)

    def _fetch(self, max_records: int, on_error: OnError) -> None:
        """Give FastStream's loop another `get_msg`, which it calls for each fetch.

        Its own sleeps after a fetch without records for as long as it has waited: a long wait delays records that come
        meanwhile, a short one keeps an idle process busy. And no middleware sees its errors.
        """

        async def fetched(consumer: Any) -> tuple[Record, ...]:
            try:
                found = await consumer.getmany(timeout_ms=_LONGEST_WAIT_MS, max_records=max_records)
            except ConsumerStoppedError:
                raise
            except Exception as error:
                on_error(error)
                raise
            return tuple(itertools.chain(*found.values()))

        self._subscriber.get_msg = fetched  # type: ignore[method-assign]

    async def start(self) -> None:
        """Return once partitions are assigned and the listener has been called."""
        await self.broker.start()

    @property
    def consumer(self) -> Any:
        """aiokafka's consumer; None unless it was started."""
        return self._subscriber.consumer


class NotJoined(Exception):
    """This process did not join its group in time. `str()` says why."""


class Joining:
    """Makes this process a member of its consumer group, within a time.

    A member of another version may still be in the group: one that was killed is a member until its session ends. When
    it assigns partitions by another rule, Kafka refuses whoever joins until then (InconsistentGroupProtocol). So it
    tries again.

    Attributes:
        waiting_for: why it cannot join now, in one sentence; None while no reason is known.
    """

    def __init__(self, settings: KafkaSettings, group: str, seconds: float, log: logging.Logger) -> None:
        """`seconds`: for how long at most; while it is refused, by a session of a killed member longer."""
        self._settings = settings
        self._group = group
        self._seconds = seconds
        self._log = log
        self.waiting_for: str | None = None

    async def join(self, make: Callable[[], Subscription]) -> Subscription:
        """A started subscription. Raises NotJoined, and what starting one raises."""
        limit, pause = self._seconds + self._settings.session_seconds, _FIRST_PAUSE_SECONDS
        deadline = time.monotonic() + limit
        while True:
            subscription = make()
            try:
                await self._start(subscription)
            except InconsistentGroupProtocolError as refused:
                await subscription.broker.stop()
                if time.monotonic() > deadline:
                    raise NotJoined(f"{self.waiting_for}, for {limit:.0f} s") from refused
                await self._name_members()
                await asyncio.sleep(random.uniform(pause / 2, pause))
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                if self.waiting_for is not None:
                    self._log.warning("a member of the group %s now", self._group)
                self.waiting_for = None
                return subscription

    async def _start(self, subscription: Subscription) -> None:
        """Start it, within the time: what aiokafka answers by asking again is not logged, and has no end."""
        joining = asyncio.create_task(subscription.start())
        try:
            await asyncio.wait({joining}, timeout=self._seconds)
        finally:
            late = not joining.done()
            if late:
                joining.cancel()
        if late:
            raise NotJoined(f"no member of the group {self._group} after {self._seconds:.0f} s")
        joining.result()

    async def _name_members(self) -> None:
        """Say who is in the group, as Kafka names them."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.bootstrap_servers)
        try:
            await admin.start()
            (answer,) = await admin.describe_consumer_groups([self._group])
            names = sorted(str(member[0]) for group in answer.groups for member in group[5])
        except (KafkaError, OSError, ValueError, IndexError):
            names = []
        finally:
            await admin.close()
        members = f"a member ({names[0]})" if len(names) == 1 else f"{len(names) or ''} members".strip()
        before, self.waiting_for = self.waiting_for, (
            f"the group {self._group} still has {members} of another version, which assigns partitions by another "
            "rule; one that was killed leaves when its session ends, one that runs must be stopped"
        )  # fmt: skip
        if before != self.waiting_for:
            self._log.warning("waiting: %s", self.waiting_for)
