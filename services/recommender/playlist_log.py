"""Where served playlists are appended: before they are answered, so that no exposure is ever unlogged."""

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
    """The playlist could not be appended: nothing may be served."""


class PlaylistLog:
    """One idempotent producer, replaced when a write fails.

    An idempotent producer goes on with a record for as long as it lives. One that has failed to deliver in time is
    therefore dropped with what it still holds, or it would deliver playlists minutes later that were never served.

    Args:
        timeout_seconds: how long an append may take; below the gateway's timeout, so that the reason gets through.
    """

    def __init__(self, settings: KafkaSettings, timeout_seconds: float) -> None:
        self._settings = settings
        self._timeout = timeout_seconds
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def answers(self, seconds: float) -> bool:
        """Whether a broker answers within this time; connects where there is no connection."""
        try:
            async with asyncio.timeout(seconds):
                current = await self.start()
                return bool(await current.client.fetch_all_metadata())
        except (KafkaError, OSError, TimeoutError):
            return False

    async def append(self, playlist: ServedPlaylist) -> None:
        """Return once the log has it durably. Raises LogUnavailable."""
        current: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout(self._timeout):
                current = await self.start()
                await self._send(current, playlist)
        except (KafkaError, OSError, TimeoutError) as fault:
            self._give_up(current)
            logger.warning("a playlist could not be appended to %s: %s", PLAYLISTS.name, fault or type(fault).__name__)
            raise LogUnavailable("the log cannot take the playlist; nothing was served, try again shortly") from fault

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
    """Flush and stop; a producer that cannot deliver would flush for ever, so only for so long."""
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        await asyncio.wait_for(old.stop(), _CLOSE_SECONDS)
        return
    await _abandon(old)


async def _abandon(old: AIOKafkaProducer) -> None:
    """Stop without delivering what is held: the sender first, so that nothing goes out any more."""
    with contextlib.suppress(KafkaError, OSError):
        await old._sender.close()
    with contextlib.suppress(KafkaError, OSError):
        await old.client.close()
