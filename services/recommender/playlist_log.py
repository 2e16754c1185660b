"""Appends playlists to the log before they are served, so that every exposure is logged."""

import asyncio
import contextlib
import logging
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from contracts.placement import partition_of
from contracts.playlists import ServedPlaylist
from contracts.topics import PLAYLISTS
from services.common.kafka import producer
from services.common.settings import KafkaSettings

logger = logging.getLogger(__name__)

_CLOSE_SECONDS: Final = 2.0


class LogUnavailable(Exception):
    """The playlist could not be appended, so it must not be served."""


class PlaylistLog:
    """One idempotent producer, replaced when a write fails.

    An idempotent producer retries a record until it is closed. After a timeout the producer is therefore dropped with
    its queue; otherwise it would deliver playlists minutes later that were never served.

    Args:
        timeout_seconds: limit of an append; below the gateway's timeout, so that the client sees the reason.
    """

    def __init__(self, settings: KafkaSettings, timeout_seconds: float) -> None:
        self._settings = settings
        self._timeout = timeout_seconds
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def answers(self, seconds: float) -> bool:
        """Whether a broker answers within this time; connects if needed."""
        try:
            async with asyncio.timeout(seconds):
                current = await self.start()
                return bool(await current.client.fetch_all_metadata())
        except (KafkaError, OSError, TimeoutError):
            return False

    async def append(self, playlist: ServedPlaylist) -> None:
        """Return once the broker has acknowledged the playlist. Raises LogUnavailable."""
        current: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout(self._timeout):
                current = await self.start()
                await self._send(current, playlist)
        except (KafkaError, OSError, TimeoutError) as fault:
            self._give_up(current)
            logger.warning("a playlist could not be appended to %s: %s", PLAYLISTS.name, fault or type(fault).__name__)
            raise LogUnavailable(
                "the log did not acknowledge the playlist, so nothing was served; try again shortly"
            ) from fault

    async def _send(self, current: AIOKafkaProducer, playlist: ServedPlaylist) -> None:
        partitions = await current.partitions_for(PLAYLISTS.name)
        await current.send_and_wait(
            PLAYLISTS.name,
            playlist.log_value(),
            key=playlist.user_id.encode(),
            partition=partition_of(playlist.user_id, len(partitions)),
        )

    async def start(self) -> AIOKafkaProducer:
        """The connected producer. Raises KafkaError or OSError when no broker answers."""
        if self._producer is None:
            async with self._starting:
                if self._producer is None:
                    fresh = producer(self._settings)
                    try:
                        await fresh.start()
                    except BaseException:
                        await fresh.stop()
                        raise
                    self._producer = fresh
        return self._producer

    def _give_up(self, failed: AIOKafkaProducer | None) -> None:
        if failed is None or failed is not self._producer:
            return
        self._producer = None
        task = asyncio.create_task(_abandon(failed))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Flush and disconnect."""
        if self._producer is not None:
            await _close(self._producer)
            self._producer = None
        await asyncio.gather(*self._closing)


async def _close(old: AIOKafkaProducer) -> None:
    """Flush and stop, within _CLOSE_SECONDS; a producer that cannot deliver would flush for ever."""
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        await asyncio.wait_for(old.stop(), _CLOSE_SECONDS)
        return
    await _abandon(old)


async def _abandon(old: AIOKafkaProducer) -> None:
    """Stop without delivering the queue: the sender first, so that it sends nothing more."""
    with contextlib.suppress(KafkaError, OSError):
        await old._sender.close()
    with contextlib.suppress(KafkaError, OSError):
        await old.client.close()
