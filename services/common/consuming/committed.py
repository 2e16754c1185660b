"""Offsets that are committed to Kafka: for tools that show lag, and with each the leader's epoch it was read under.

They do not decide where a consumer goes on; the store's mark does.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IllegalStateError, KafkaError

from services.common.consuming.positions import LeaderEpochs, Position
from services.common.settings import KafkaSettings

LOG_OUTAGES: tuple[type[Exception], ...] = (KafkaError, ConnectionError, TimeoutError)
_EVERY_SECONDS: Final = 1.0
_LAST_SECONDS: Final = 2.0
_MOST_FLUSHES_SINCE: Final = 30
# Nothing is read meanwhile.
_FETCH_SECONDS: Final = 10.0
_FETCH_AGAIN_SECONDS: Final = 0.1


class CommittedOffsets:
    """Commits positions of one group. `consumer()` is the aiokafka consumer, known once it was started."""

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        consumer: Callable[[], Any],
        epochs: LeaderEpochs,
        log: logging.Logger,
    ) -> None:
        self._settings = settings
        self._group = group
        self._consumer = consumer
        self._epochs = epochs
        self._log = log
        self._at = 0.0
        self._task: asyncio.Task[None] | None = None
        # Flushes, at most one a second, that found the last commit still under way.
        self._flushes_since = 0

    async def restore_epochs(self, tps: list[TopicPartition]) -> None:
        """The epochs that were committed last; without them a log that was cut meanwhile looks whole.

        `AIOKafkaConsumer.committed` drops the metadata (aiokafka's issue 857), the admin client does not.
        """
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.bootstrap_servers)
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                await admin.start()
                found = await self._fetch(admin, tps)
        except LOG_OUTAGES as error:
            self._log.warning("committed offsets are not known (%r): a log cut meanwhile would not be noticed", error)
            return
        finally:
            await admin.close()
        for tp, committed in found.items():
            self._epochs.restore(tp, committed.metadata)

    async def _fetch(self, admin: AIOKafkaAdminClient, tps: list[TopicPartition]) -> Mapping[TopicPartition, Any]:
        while True:
            try:
                found: Mapping[TopicPartition, Any] = await admin.list_consumer_group_offsets(
                    self._group, partitions=tps
                )
            except KafkaError as error:
                # The coordinator of a new group is still being chosen.
                if not error.retriable:
                    raise
                await asyncio.sleep(_FETCH_AGAIN_SECONDS)
            else:
                return found

    def commit_soon(self, positions: Mapping[TopicPartition, Position[Any]]) -> None:
        """Commit in the background, once a second: while a group has no coordinator aiokafka retries for ever.

        Raises RuntimeError when it still does after many flushes: the log answers, so this client will not recover.
        """
        now = time.monotonic()
        if now - self._at <= _EVERY_SECONDS:
            return
        self._at = now
        if self._task is not None and not self._task.done():
            self._flushes_since += 1
            if self._flushes_since > _MOST_FLUSHES_SINCE:
                raise RuntimeError("the client of Kafka does not find its group's coordinator, though it reads the log")
            return
        self._flushes_since = 0
        self._task = asyncio.create_task(self._commit(positions))

    async def commit_last(self, positions: Mapping[TopicPartition, Position[Any]]) -> None:
        """Commit before the process ends, within two seconds."""
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                if self._task is not None:
                    await self._task
                await self._commit(positions)
        except TimeoutError:
            self._log.info("offsets not committed in time; the store's marks count")

    async def _commit(self, positions: Mapping[TopicPartition, Position[Any]]) -> None:
        after = {tp: position.after for tp, position in positions.items() if position.after}
        offsets = {tp: (offset, self._epochs.to_commit(tp)) for tp, offset in after.items()}
        try:
            if offsets:
                await self._consumer().commit(offsets)
        except (KafkaError, IllegalStateError) as error:
            self._log.info("offsets not committed (%s); the store's marks count", type(error).__name__)
