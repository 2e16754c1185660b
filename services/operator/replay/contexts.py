"""Playlists as they were served, each with its context: the log is read once more, up to what the playlist reflects.

A playlist names the marks of the profile that it was made from, and that profile's digest. So the profile is folded
from exactly those records, and the digest says whether it is the same one.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

from pydantic import ValidationError

from contracts.marks import MarkName
from contracts.playlists import ServedPlaylist
from contracts.records import PLAYLIST_VERSIONS
from contracts.topics import CATALOGUE, FEEDBACK, PLAYLISTS, PROFILES
from services.common.kafka import topic_ids
from services.common.kafka.consuming.model import Poison
from services.common.settings import KafkaSettings
from services.operator.replay.records import Tell, first_time, records_of
from services.profiles.decoding import decode_state
from services.profiles.reader import HistoryEntry, StoredProfile
from services.profiles.writes import HISTORY_LISTS, Forget, ShardWrites, effect_of
from services.recommender.interface import CatalogueSong, ServedContext, UnreadableSong, history_entry, read_song

# A playlist's record is written when it is served; clocks of a machine differ by less.
_LATER_MS: Final = 60_000


@dataclass(frozen=True)
class Wanted:
    """Which playlists: the newest of each listener at a time.

    Attributes:
        at: ms since the epoch.
        users: of these, however old it is; empty: of whoever was served in the `window_ms` before.
        limit: at most so many, those served last.
    """

    at: int
    users: frozenset[str] = frozenset()
    window_ms: int = 3_600_000
    limit: int = 100


@dataclass(frozen=True)
class Placed:
    """A playlist of the log."""

    playlist: ServedPlaylist
    offset: int


@dataclass(frozen=True)
class CatalogueAt:
    """The catalogue at a time, as far as the compacted log still tells.

    `later`: songs of which only later records are left. They were added or changed since, and are taken as the first of
    those says.
    """

    entries: tuple[CatalogueSong, ...]
    later: int


async def playlists_at(settings: KafkaSettings, wanted: Wanted, tell: Tell) -> list[Placed]:
    """The playlists, each in its newest revision of then, the newest first.

    Raises LookupError when there is none, with a sentence that says why; aiokafka's KafkaError.
    """
    at, users = wanted.at, wanted.users
    found: dict[str, Placed] = {}
    since = None if users else at - wanted.window_ms
    async for record in records_of(settings, PLAYLISTS.name, users or None, tell, since=since, until=at + _LATER_MS):
        playlist = _playlist(record)
        if playlist is None or not (since or 0) <= playlist.served_at <= at:
            continue
        known = found.get(playlist.user_id)
        if known is None or _order(playlist) > _order(known.playlist):
            found[playlist.user_id] = Placed(playlist, record.offset)
    if not found:
        raise LookupError(not_served(wanted, await first_time(settings, PLAYLISTS.name)))
    return sorted(found.values(), key=lambda one: _order(one.playlist), reverse=True)[: wanted.limit]


def not_served(wanted: Wanted, first: int | None) -> str:
    """Why there is no playlist of then, and what to ask instead. `first`: when the log's first playlist was written."""
    if first is None:
        return "no playlist is in the log yet; the first one comes with the first listener who asks for songs"
    if wanted.at < first:
        return (
            f"no playlist of {_utc(wanted.at)}: the log's first one was served at {_utc(first)}. "
            "Ask for a later time: `--at now`"
        )
    minutes = f"no listener in the {wanted.window_ms // 60_000} minutes before"
    whom = f"none of {', '.join(sorted(wanted.users))}" if wanted.users else minutes
    return f"no playlist of {_utc(wanted.at)}: {whom} was served one; try another --at, or a wider --window"


def _utc(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


async def contexts_of(settings: KafkaSettings, placed: Collection[Placed], tell: Tell) -> list[ServedContext]:
    """Each playlist with its listener's profile and history of then, in this order, but not of who is forgotten.

    One playlist a listener. Raises aiokafka's KafkaError, LookupError when a topic is missing.
    """
    chosen = {one.playlist.user_id: one for one in placed}
    ids = await topic_ids(settings.bootstrap_servers, [FEEDBACK.name, PROFILES.name])
    writes = ShardWrites()
    for topic in (PROFILES.name, FEEDBACK.name):
        async for record in records_of(settings, topic, chosen, tell):
            effect = effect_of(record)
            if isinstance(effect, Poison) or effect.user_id not in chosen:
                continue
            name = MarkName(ids[topic], record.partition).field()
            # Whoever is forgotten is not looked at either, whenever that was asked for.
            if isinstance(effect, Forget) or record.offset < chosen[effect.user_id].playlist.reflects.get(name, 0):
                writes.add(effect)
    shown = await _shown(settings, chosen, tell)
    fields = writes.fields()
    return [
        ServedContext(one.playlist, _profile(one.playlist, fields.get(user_id, {})), shown[user_id])
        for user_id, one in chosen.items()
        if user_id not in writes.forgotten
    ]


async def catalogue_at(settings: KafkaSettings, at: int, tell: Tell) -> CatalogueAt:
    """The catalogue at a time (ms): of each song the last record of then. Raises aiokafka's KafkaError, LookupError.

    A song of which there are later records only was added since where its partition has lost nothing before them; else
    what it was may have been compacted away.
    """
    before: dict[bytes, bytes | None] = {}
    after: dict[bytes, bytes] = {}
    whole: dict[int, int] = {}
    async for record in records_of(settings, CATALOGUE.name, None, tell):
        key, place = record.key, record.partition
        if whole.get(place, 0) == record.offset:
            whole[place] = record.offset + 1
        if key is not None and record.timestamp <= at:
            before[key] = record.value
        elif key is not None and record.value is not None and whole.get(place, 0) <= record.offset:
            after.setdefault(key, record.value)
    later = {key: value for key, value in after.items() if key not in before}
    entries = (_entry(value) for value in chain(before.values(), later.values()) if value is not None)
    return CatalogueAt(tuple(entry for entry in entries if entry is not None), len(later))


def _profile(playlist: ServedPlaylist, fields: Mapping[bytes, bytes]) -> StoredProfile:
    flat = list(chain.from_iterable(fields.items()))
    state = decode_state(playlist.user_id, playlist.generation, b"replayed", flat, None)
    return StoredProfile(state, dict(playlist.reflects), ())


async def _shown(
    settings: KafkaSettings, chosen: Mapping[str, Placed], tell: Tell
) -> Mapping[str, tuple[HistoryEntry, ...]]:
    """What each listener had been served before: the newest playlists, oldest first, each in its newest revision."""
    found: dict[str, dict[str, HistoryEntry]] = defaultdict(dict)
    async for record in records_of(settings, PLAYLISTS.name, chosen, tell):
        playlist = _playlist(record)
        if playlist is None or playlist.user_id not in chosen or record.offset >= chosen[playlist.user_id].offset:
            continue
        entry, entries = history_entry(playlist), found[playlist.user_id]
        if playlist.playlist_id != chosen[playlist.user_id].playlist.playlist_id:
            entries[entry.playlist_id] = max(entry, entries.get(entry.playlist_id, entry), key=lambda e: e.revision)
    return {
        user_id: tuple(sorted(found[user_id].values(), key=lambda e: (e.served_at, e.playlist_id)))[-HISTORY_LISTS:]
        for user_id in chosen
    }


def _order(playlist: ServedPlaylist) -> tuple[int, int, str]:
    return playlist.served_at, playlist.revision, str(playlist.playlist_id)


def _playlist(record: Any) -> ServedPlaylist | None:
    try:
        return PLAYLIST_VERSIONS.read(record.value or b"")
    except ValidationError:
        # The consumers have sent it to the dead letters.
        return None


def _entry(value: bytes) -> CatalogueSong | None:
    try:
        return read_song(value)
    except UnreadableSong:
        return None
