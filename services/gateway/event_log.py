"""The event log as the gateway uses it: the topics that it writes, their ids, and whether they are writable."""

import asyncio
import contextlib
import logging
from functools import partial
from typing import Any, Final

from aiokafka.errors import KafkaError

from contracts.http import LogPosition
from contracts.tokens import Receipt
from contracts.topics import FEEDBACK, LEDGER, PROFILES
from services.common.kafka import producer, topic_ids
from services.common.process.loop import end
from services.common.settings import KafkaSettings
from services.gateway.acknowledgements import AcknowledgementLedger
from services.gateway.metrics import Metrics
from services.gateway.partition_batcher import BATCH_BYTES
from services.gateway.problems import log_unavailable
from services.gateway.writer import Acknowledged, Appended, LogUnavailable, LogWriter

logger = logging.getLogger(__name__)

IDS_EVERY_SECONDS: Final = 3.0
RETRY_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 5.0
# New partitions of a topic are used within this time.
METADATA_AGE_MS: Final = 30_000
# Compressed by gzip: a list of 20,000 anime exceeds the broker's 1 MB uncompressed and takes 100 KB compressed.
LIST_BATCH_BYTES: Final = 4 * 1024 * 1024


class TopicIds:
    """The ids of the topics, refreshed every few seconds, because a topic may be deleted and created again."""

    def __init__(self, settings: KafkaSettings, topics: tuple[str, ...]) -> None:
        self._bootstrap = settings.bootstrap_servers
        self._topics = topics
        self._known: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._fresh = asyncio.Condition()
        self.trouble: str | None = "the log has not answered yet"

    async def id_of(self, topic: str, *, again: bool = False) -> str:
        """The topic's id; waits until it is known. `again`: ask the broker, as the topic may have been recreated."""
        if again or topic not in self._known:
            async with self._fresh:
                self._wake.set()
                await self._fresh.wait()
        return self._known[topic]

    async def keep(self) -> None:
        """Refresh the ids every few seconds, until cancelled."""
        while True:
            self._wake.clear()
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    self._known = await topic_ids(self._bootstrap, self._topics)
            except (KafkaError, OSError, LookupError, RuntimeError, TimeoutError) as error:
                self._note(str(error) or f"no answer within {ANSWER_SECONDS:g} s")
            else:
                self._note(None)
                async with self._fresh:
                    self._fresh.notify_all()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS if self.trouble else IDS_EVERY_SECONDS):
                    await self._wake.wait()

    def _note(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            logger.info("the log: %s", trouble or "answers")
        self.trouble = trouble


class EventLog:
    """The topics that the gateway appends to."""

    def __init__(self, settings: KafkaSettings, metrics: Metrics, *, account_seconds: float = 10.0) -> None:
        seconds = settings.request_timeout_ms / 1000
        self._metrics = metrics
        self._seconds = seconds
        self._ids = TopicIds(settings, (FEEDBACK.name, PROFILES.name))
        self._ledger = AcknowledgementLedger(FEEDBACK.name, self._feedback_id, self._append_to_ledger, account_seconds)

        def writer(topic: str, acknowledged: Acknowledged | None = None, **options: Any) -> LogWriter:
            connect = partial(producer, settings, metadata_max_age_ms=METADATA_AGE_MS, **options)
            return LogWriter(topic, connect, timeout_seconds=seconds, metrics=metrics, acknowledged=acknowledged)

        self._writers = {
            FEEDBACK.name: writer(FEEDBACK.name, self._ledger.record, max_batch_size=BATCH_BYTES),
            LEDGER.name: writer(LEDGER.name, max_batch_size=BATCH_BYTES),
            PROFILES.name: writer(PROFILES.name, max_batch_size=LIST_BATCH_BYTES, compression_type="gzip"),
        }
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to connect; returns at once, with or without a broker."""
        self._watch = asyncio.create_task(self._ids.keep(), name="topic ids")
        for writer in self._writers.values():
            writer.start()
        self._ledger.start()

    async def close(self) -> None:
        """Flush, within a time limit. The ledger's last entry follows the appends that it covers."""
        ledger_writer = self._writers[LEDGER.name]
        await asyncio.gather(*(writer.close() for writer in self._writers.values() if writer is not ledger_writer))
        await self._ledger.close()
        await ledger_writer.close()
        if self._watch is not None:
            await end(self._watch)

    def trouble(self) -> str | None:
        """Why an event probably cannot be logged now; None if it can."""
        writer = self._writers[FEEDBACK.name]
        found = self._ids.trouble or writer.trouble()
        self._metrics.log_ready.set(0 if found else 1)
        return found

    async def _feedback_id(self) -> str:
        return await self._ids.id_of(FEEDBACK.name, again=True)

    async def _append_to_ledger(self, writer: str, values: list[bytes], now: int) -> None:
        await self._writers[LEDGER.name].append(writer, values, now)

    async def append(
        self, topic: str, user_id: str, values: list[bytes], now: int, digest: int = 0
    ) -> tuple[LogPosition, Receipt]:
        """Append a user's records; returns their position once the broker acknowledged them. `digest`: of event ids.

        Raises Refused 503; services.gateway.writer says whether the records may have been written.
        """
        try:
            appended = await self._writers[topic].append(user_id, values, now, digest)
            async with asyncio.timeout(self._seconds):
                topic_id = await self._ids.id_of(topic, again=appended.topic_recreated)
        except LogUnavailable as unavailable:
            raise log_unavailable(str(unavailable)) from unavailable
        except TimeoutError:
            raise log_unavailable("it did not return its topics' ids in time") from None
        return _position_and_receipt(topic, topic_id, appended)


def _position_and_receipt(topic: str, topic_id: str, at: Appended) -> tuple[LogPosition, Receipt]:
    position = LogPosition(
        topic=topic, partition=at.partition, first_offset=at.first_offset, last_offset=at.last_offset
    )
    return position, Receipt(topic_id, at.partition, at.last_offset)
