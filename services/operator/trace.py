"""The way of one event: from the listener's click through the log and the profile to the next playlist.

Everything is asked of the parts themselves. The warehouse knows where an event lies; while it has not come so far, the
log is searched instead.
"""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import clickhouse_connect
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import ValidationError

from contracts.events import FeedbackEvent, read_event
from contracts.fold import SONG_FIELD, stored_fields
from contracts.fold import fold as fold_events
from contracts.marks import MarkName
from contracts.placement import partition_of
from contracts.playlists import ServedPlaylist
from contracts.records import PLAYLIST_VERSIONS
from contracts.registers import SERVED, SERVED_SLICES
from contracts.topics import FEEDBACK, PLAYLISTS
from services.common.kafka import partition_ids, read_to_end, topic_ids
from services.common.redis import connect
from services.common.settings import Settings
from services.profiles.reader import ProfileReader

_WHERE = (
    "SELECT partition, offset, inserted_at FROM animusic.feedback_clean WHERE event_id = {event_id:UUID} "
    "AND topic_id = {topic_id:String}"
)


@dataclass(frozen=True)
class LoggedEvent:
    """An event and where it lies."""

    event: FeedbackEvent
    mark: MarkName
    offset: int


@dataclass(frozen=True)
class Trace:
    """What is known of an event's way.

    Attributes:
        warehouse_ms: from the gateway's stamp to the insert into ClickHouse; None: not there yet.
        profile_mark: the live profile's mark of the event's partition; it reflects the event when above its offset.
        registers: of the event's song as the profile holds them: name -> fields, or None when absent.
        agrees: whether the profile holds at least what this event alone would have written.
        playlist: the first playlist served to the user whose profile reflected the event; None: none yet.
    """

    logged: LoggedEvent
    warehouse_ms: float | None
    profile_mark: int
    registers: dict[str, dict[str, Any] | None]
    agrees: bool
    playlist: ServedPlaylist | None

    @property
    def in_profile(self) -> bool:
        """Whether the live profile reflects the event."""
        return self.profile_mark > self.logged.offset


async def trace(settings: Settings, event_id: UUID) -> Trace:
    """Follow one event. Raises LookupError when neither the warehouse nor the log knows it."""
    ids = await topic_ids(settings.kafka.bootstrap_servers, [FEEDBACK.name])
    topic_id = ids[FEEDBACK.name]
    row = await asyncio.to_thread(_ask_warehouse, settings, event_id, topic_id)
    found = (row[0], row[1]) if row else await _search_log(settings, event_id)
    event = await _record(settings, *found)
    logged = LoggedEvent(event, MarkName(topic_id, found[0]), found[1])
    warehouse_ms = row[2].timestamp() * 1000 - event.received_at if row else None
    return await _follow(settings, logged, warehouse_ms)


async def _follow(settings: Settings, logged: LoggedEvent, warehouse_ms: float | None) -> Trace:
    redis = connect(settings.redis)
    try:
        snapshot = await ProfileReader(redis, cached=0).read(logged.event.user_id)
    finally:
        await redis.aclose()
    return Trace(
        logged=logged,
        warehouse_ms=warehouse_ms,
        profile_mark=snapshot.marks.get(logged.mark.field(), 0),
        registers=_registers(snapshot.songs.get(logged.event.song_id or "")),
        agrees=holds(logged.event, snapshot.songs, snapshot.vetoes),
        playlist=await _next_playlist(settings, logged),
    )


def _registers(packed: bytes | None) -> dict[str, dict[str, Any] | None]:
    if packed is None:
        return {}
    return {register.name: register.decode(packed[SERVED_SLICES[register.name]]) for register in SERVED}


def holds(event: FeedbackEvent, songs: dict[str, bytes], vetoes: dict[str, bytes]) -> bool:
    """Whether merging the event once more would change nothing."""
    for field, value in stored_fields(fold_events([event])[event.user_id]).items():
        name = field[1:].decode()
        if field[:1] != SONG_FIELD:
            if vetoes.get(name, b"") < value:
                return False
            continue
        stored = songs.get(name)
        if stored is None or any(stored[s] < value[s] for s in SERVED_SLICES.values()):
            return False
    return True


def _ask_warehouse(settings: Settings, event_id: UUID, topic_id: str) -> tuple[Any, ...] | None:
    client = clickhouse_connect.get_client(dsn=settings.clickhouse.dsn)
    try:
        rows = client.query(_WHERE, parameters={"event_id": str(event_id), "topic_id": topic_id}).result_rows
    finally:
        client.close()
    return tuple(rows[0]) if rows else None


async def _search_log(settings: Settings, event_id: UUID) -> tuple[int, int]:
    needle = str(event_id).encode()
    async for records in read_to_end(settings.kafka, FEEDBACK.name):
        for record in records:
            if needle in record.value:
                return record.partition, record.offset
    raise LookupError(f"no event {event_id} in {FEEDBACK.name}: was it answered with 202, and not among `rejected`?")


async def _record(settings: Settings, partition: int, offset: int) -> FeedbackEvent:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka.bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        at = TopicPartition(FEEDBACK.name, partition)
        consumer.assign([at])
        consumer.seek(at, offset)
        return read_event((await asyncio.wait_for(consumer.getone(at), 10)).value)
    finally:
        await consumer.stop()


async def _next_playlist(settings: Settings, logged: LoggedEvent) -> ServedPlaylist | None:
    """The first playlist of the user that reflects the event, read from the log."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka.bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        user = logged.event.user_id
        at = TopicPartition(PLAYLISTS.name, partition_of(user, len(await partition_ids(consumer, PLAYLISTS.name))))
        consumer.assign([at])
        start = (await consumer.offsets_for_times({at: logged.event.received_at}))[at]
        if start is None:
            return None
        consumer.seek(at, start.offset)
        end = (await consumer.end_offsets([at]))[at]
        while await consumer.position(at) < end:
            for record in (await consumer.getmany(at, timeout_ms=500)).get(at, []):
                playlist = _playlist_of(record)
                if playlist is not None and _reflects(playlist, logged):
                    return playlist
        return None
    finally:
        await consumer.stop()


def _playlist_of(record: Any) -> ServedPlaylist | None:
    try:
        return PLAYLIST_VERSIONS.read(record.value)
    except ValidationError:
        # Unreadable records are the consumers' business: they are among the dead letters.
        return None


def _reflects(playlist: ServedPlaylist, logged: LoggedEvent) -> bool:
    known = playlist.reflects.get(logged.mark.field(), 0) > logged.offset
    return playlist.user_id == logged.event.user_id and known
