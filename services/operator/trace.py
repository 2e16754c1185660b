"""Traces one event: from the listener's click through the log and the profile to the next playlist.

The parts themselves answer. The warehouse knows the offset of an event; while it is behind, the
log is searched instead.
"""

from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from aiokafka import TopicPartition
from pydantic import ValidationError

from contracts.events import FeedbackEvent, read_event
from contracts.fold import Folded, fold
from contracts.marks import MarkName
from contracts.placement import partition_of
from contracts.playlists import ServedPlaylist
from contracts.records import PLAYLIST_VERSIONS
from contracts.registers import SERVED, SERVED_SLICES
from contracts.topics import FEEDBACK, PLAYLISTS
from services.common.redis import connect
from services.common.settings import Settings
from services.operator.readers.clickhouse import ClickhouseReader
from services.operator.readers.log import Offsets, Spans, consumer, offsets, records
from services.operator.verify.registers import joined
from services.profiles.reader import ProfileReader

_ASK_SECONDS: Final = 60.0
_WHERE: Final = (
    "SELECT partition, offset, toUnixTimestamp64Milli(inserted_at) AS inserted_ms FROM animusic.feedback_clean "
    "WHERE event_id = {event_id:UUID} AND topic_id = {topic_id:String}"
)


@dataclass(frozen=True)
class Trace:
    """What is known of an event's way.

    Attributes:
        mark, offset: where it lies in the log.
        warehouse_ms: from the gateway's stamp to the insert into ClickHouse; None: not there yet.
        profile_mark: the live profile's mark of the event's partition; it reflects the event when above its offset.
        registers: of the event's song as the profile holds them: name -> fields, or None when absent.
        agrees: whether the profile holds at least what this event alone would have written.
        playlist: the first playlist served to the user whose profile reflected the event; None: none yet.
    """

    event: FeedbackEvent
    mark: MarkName
    offset: int
    warehouse_ms: float | None
    profile_mark: int
    registers: dict[str, dict[str, Any] | None]
    agrees: bool
    playlist: ServedPlaylist | None

    @property
    def in_profile(self) -> bool:
        """Whether the live profile reflects the event."""
        return self.profile_mark > self.offset


async def trace(settings: Settings, event_id: UUID) -> Trace:
    """Follow one event. Raises LookupError when neither the warehouse nor the log knows it."""
    log = await offsets(settings.kafka, [FEEDBACK.name, PLAYLISTS.name])
    async with aclosing(ClickhouseReader(settings.clickhouse, _ASK_SECONDS)) as warehouse:
        rows = await warehouse.rows(_WHERE, event_id=event_id, topic_id=log.ids[FEEDBACK.name])
    spans = log.spans(FEEDBACK.name)
    if rows:
        offset = int(rows[0]["offset"])
        spans = {TopicPartition(FEEDBACK.name, int(rows[0]["partition"])): (offset, offset + 1)}
    found = await _search(settings, event_id, spans)
    event = read_event(found.value)
    mark = log.mark(TopicPartition(FEEDBACK.name, found.partition))
    async with aclosing(connect(settings.redis)) as redis:
        snapshot = await ProfileReader(redis, cache_bytes=0).read(event.user_id)
    return Trace(
        event=event,
        mark=mark,
        offset=found.offset,
        warehouse_ms=int(rows[0]["inserted_ms"]) - event.received_at if rows else None,
        profile_mark=snapshot.marks.get(mark.field(), 0),
        registers=_registers(snapshot.songs.get(event.song_id or "")),
        agrees=holds(event, snapshot.songs, snapshot.vetoes),
        playlist=await _next_playlist(settings, log, event, mark, found.offset),
    )


def _registers(packed: bytes | None) -> dict[str, dict[str, Any] | None]:
    if packed is None:
        return {}
    return {register.name: register.decode(packed[SERVED_SLICES[register.name]]) for register in SERVED}


def holds(event: FeedbackEvent, songs: dict[str, bytes], vetoes: dict[str, bytes]) -> bool:
    """Whether merging the event again would change nothing."""
    whole = joined(Folded(songs=songs, vetoes=vetoes), fold([event])[event.user_id])
    return whole.songs == songs and whole.vetoes == vetoes


async def _search(settings: Settings, event_id: UUID, spans: Spans) -> Any:
    """The record of an event. Raises LookupError."""
    needle = str(event_id).encode()
    async with aclosing(records(settings.kafka, spans)) as found:
        async for record in found:
            if needle in (record.value or b""):
                return record
    raise LookupError(f"no event {event_id} in {FEEDBACK.name}: was it answered with 202, and not among `rejected`?")


async def _next_playlist(
    settings: Settings, log: Offsets, event: FeedbackEvent, mark: MarkName, offset: int
) -> ServedPlaylist | None:
    """The first playlist of the user that reflects the event, read from the log."""
    at = TopicPartition(PLAYLISTS.name, partition_of(event.user_id, log.partitions(PLAYLISTS.name)))
    async with consumer(settings.kafka) as client:
        start = (await client.offsets_for_times({at: event.received_at}))[at]
    spans = {} if start is None else {at: (start.offset, log.ends[at])}
    async with aclosing(records(settings.kafka, spans)) as found:
        async for record in found:
            playlist = _playlist_of(record)
            known = playlist is not None and playlist.reflects.get(mark.field(), 0) > offset
            if playlist is not None and known and playlist.user_id == event.user_id:
                return playlist
    return None


def _playlist_of(record: Any) -> ServedPlaylist | None:
    try:
        return PLAYLIST_VERSIONS.read(record.value)
    except ValidationError:
        # Unreadable records are among the consumers' dead letters.
        return None
