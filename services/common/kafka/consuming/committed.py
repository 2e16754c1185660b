"""Offsets that are committed to Kafka: for tools that show lag, and with each the leader's epoch it was read under.

They do not decide where a consumer goes on; the store's mark does.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IllegalStateError, KafkaError

from services.common.kafka.consuming.positions import LeaderEpochs, Position
from services.common.settings import KafkaSettings

LOG_OUTAGES: tuple[type[Exception], ...] = (KafkaError, ConnectionError, TimeoutError)
_COMMIT_SECONDS: Final = 2.0
_MOST_LATE: Final = 30


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
        self._last: dict[TopicPartition, tuple[int, str]] = {}
        # Commits in a row that were not answered in time.
        self._late = 0

    async def restore_epochs(self, tps: list[TopicPartition]) -> None:
        """Keep the epochs that were committed last; without them a log that was cut meanwhile looks whole.

        `AIOKafkaConsumer.committed` drops the metadata (aiokafka's issue 857), the admin client does not. May raise
        aiokafka's KafkaError.
        """
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.bootstrap_servers)
        try:
            await admin.start()
            found = await admin.list_consumer_group_offsets(self._group, partitions=tps)
        finally:
            await admin.close()
        for tp, committed in found.items():
            self._epochs.restore(tp, committed.metadata or "")

    async def commit(self, positions: Mapping[TopicPartition, Position[Any]]) -> None:
        """Commit what the store has. While a group has no coordinator aiokafka retries for ever, hence the timeout.

        Raises RuntimeError after a minute of that: the log answers, so this client will not recover.
        """
        offsets = {tp: (one.after, self._epochs.to_commit(tp)) for tp, one in positions.items() if one.after}
        if not offsets or offsets == self._last:
            return
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):
                await self._consumer().commit(offsets)
        except TimeoutError:
            self._late += 1
            if self._late > _MOST_LATE:
                raise RuntimeError(
                    "the client of Kafka finds no coordinator of its group, though it reads the log"
                ) from None
        except (KafkaError, IllegalStateError) as error:
            self._log.info("offsets not committed (%s); the store's marks count", type(error).__name__)
        else:
            self._last, self._late = offsets, 0
