"""Turns records of the log into the script calls that merge them. Pure.

For any order and batching of records, the store ends with the same bytes: registers by their merge, the anime
list by its offset, a playlist by its revision, the history by time, and a forgotten user stays forgotten.
"""

import heapq
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pydantic import ValidationError

from contracts.events import FeedbackEvent, first_error, read_event
from contracts.fold import LIST_FIELD, Stored, merge_stored, served_writes, song_field, veto_field
from contracts.marks import MarkName
from contracts.placement import shard_of
from contracts.playlists import ServedPlaylist
from contracts.profiles import AnimeList
from contracts.records import PLAYLIST_VERSIONS, PROFILE_VERSIONS
from contracts.registers import SERVED_IDENTITY, SERVED_SLICES, VETO
from contracts.topics import FEEDBACK, PLAYLISTS, PROFILES
from services.common.kafka.consuming.model import Poison, Record


class Feedback(NamedTuple):
    """The stored field of one event, or none (a `shown` writes nothing here)."""

    user_id: str
    fields: Stored


class Listed(NamedTuple):
    """An anime list, encoded as it is stored: offset, then JSON; the higher offset wins."""

    user_id: str
    value: bytes


class Forget(NamedTuple):
    """A user to forget, permanently."""

    user_id: str


class Served(NamedTuple):
    """A served playlist and its entry in the user's history, both encoded as stored."""

    user_id: str
    playlist_id: str
    value: bytes
    entry: bytes


Effect = Feedback | Listed | Forget | Served


def effect_of(record: Record) -> Effect | Poison:
    """The effect of a record of one of the three topics on Redis."""
    if record.value is None:
        return Poison("the record has no value; send a `forgotten` record to forget a user, not a tombstone")
    try:
        return _DECODERS[record.topic](record)
    except ValidationError as error:
        return Poison(first_error(error))
    except OverflowError as error:
        return Poison(f"a number is too large for the store: {error}")


def feedback_of(event: FeedbackEvent) -> Feedback:
    """The stored fields of one event: `contracts.fold.stored_fields` of its writes, which are all different."""
    fields: Stored = {}
    for register, key, _, value in served_writes(event):
        if register is VETO:
            fields[veto_field(key)] = value
        else:
            at, name = SERVED_SLICES[register.name], song_field(key)
            packed = fields.get(name, SERVED_IDENTITY)
            fields[name] = packed[: at.start] + value + packed[at.stop :]
    return Feedback(event.user_id, fields)


def served_of(playlist: ServedPlaylist) -> Served:
    """A playlist as it is stored. `entry`: served at (8 bytes), revision (2), JSON list of the songs in its slots."""
    revision = playlist.revision.to_bytes(2, "big")
    songs = json.dumps([slot.song_id for slot in playlist.slots], separators=(",", ":")).encode()
    entry = playlist.served_at.to_bytes(8, "big") + revision + songs
    return Served(playlist.user_id, str(playlist.playlist_id), revision + playlist.log_value(), entry)


def _profile(record: Record) -> Effect:
    decoded = PROFILE_VERSIONS.read(record.value)
    if not isinstance(decoded, AnimeList):
        return Forget(decoded.user_id)
    entries = [entry.model_dump(exclude_none=True) for entry in decoded.entries]
    return Listed(
        decoded.user_id, record.offset.to_bytes(8, "big") + json.dumps(entries, separators=(",", ":")).encode()
    )


_DECODERS: dict[str, Callable[[Record], Effect]] = {
    FEEDBACK.name: lambda record: feedback_of(read_event(record.value)),
    PLAYLISTS.name: lambda record: served_of(PLAYLIST_VERSIONS.read(record.value)),
    PROFILES.name: _profile,
}


# A playlist is two values of a few kilobytes, and an entry in a history that is sorted when it is full.
FIELDS_A_PLAYLIST: Final = 10
# A script call blocks every reader of the store, so each call takes about half a millisecond at most.
FIELDS_A_CALL: Final = 100
HISTORY_LISTS: Final = 40
# As the `upto` of a call.
MOVES_NO_MARK: Final = -1


@dataclass
class ShardWrites:
    """The folded writes of one shard, by user and by playlist. `stored`: feedback."""

    stored: dict[str, Stored] = field(default_factory=dict)
    lists: dict[str, bytes] = field(default_factory=dict)
    served: dict[str, Served] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)

    def add(self, effect: Effect) -> None:
        """Fold one effect in; the order does not matter."""
        match effect:
            case Feedback(user_id, fields):
                user = self.stored.setdefault(user_id, {})
                for name, value in fields.items():
                    merge_stored(user, name, value)
            case Listed(user_id, value):
                self.lists[user_id] = max(value, self.lists.get(user_id, b""))
            case Forget(user_id):
                self.forgotten.add(user_id)
            case Served(_, playlist_id, value, entry):
                old = self.served.get(playlist_id, effect)
                self.served[playlist_id] = effect._replace(value=max(value, old.value), entry=max(entry, old.entry))

    @property
    def size(self) -> int:
        """About how many fields it writes; a playlist weighs FIELDS_A_PLAYLIST."""
        fields = sum(map(len, self.stored.values()))
        return fields + len(self.lists) + len(self.forgotten) + FIELDS_A_PLAYLIST * len(self.served)

    def keep_newest(self, lists: int) -> None:
        """Leave out playlists that are not among the newest `lists` of their user here; the store would drop them."""
        by_user: dict[str, list[tuple[bytes, str]]] = defaultdict(list)
        for playlist_id, served in self.served.items():
            by_user[served.user_id].append((served.entry, playlist_id))
        for found in by_user.values():
            for _, playlist_id in heapq.nsmallest(len(found) - lists, found):
                del self.served[playlist_id]

    def fields(self) -> dict[str, Stored]:
        """User id -> fields to merge, of users who are not forgotten here and have any."""
        users = dict(self.stored)
        for user_id, value in self.lists.items():
            users[user_id] = {**users.get(user_id, {}), LIST_FIELD: value}
        return {user_id: fields for user_id, fields in users.items() if fields and user_id not in self.forgotten}


def by_shard(effects: Iterable[Effect]) -> dict[int, ShardWrites]:
    """Effects folded, by the shard of their user. Playlists that the store would not keep are left out."""
    shards: dict[int, ShardWrites] = {}
    for effect in effects:
        shards.setdefault(shard_of(effect.user_id), ShardWrites()).add(effect)
    for writes in shards.values():
        writes.keep_newest(HISTORY_LISTS)
    return shards


@dataclass(frozen=True)
class MergeCall:
    """One script call: effects of a slice of the log on one shard, and the mark that covers them.

    `after`: the mark that the slice continues from (0: whatever the store has); `upto`: the mark after it, or
    MOVES_NO_MARK where other calls of the same slice follow.
    """

    shard: int
    mark: str
    after: int
    upto: int
    writes: ShardWrites


def calls_of(
    name: MarkName, after: int, upto: int, shards: Iterable[int], writes: Mapping[int, ShardWrites]
) -> Iterator[MergeCall]:
    """The script calls of a slice: short ones, the last of which moves the mark of its shard.

    The mark is written with the last of the effects that it covers. If a call was refused or lost, the mark stays where
    it was, and the whole slice is read again.
    """
    for shard in shards:
        *first, last = _cut(writes.get(shard, ShardWrites()))
        for part in first:
            yield MergeCall(shard, name.field(), after, MOVES_NO_MARK, part)
        yield MergeCall(shard, name.field(), after, upto, last)


def _cut(writes: ShardWrites) -> list[ShardWrites]:
    """The same writes in parts of about FIELDS_A_CALL fields; at least one part, which may be empty."""
    parts = [ShardWrites(lists=writes.lists, forgotten=writes.forgotten)]
    size = parts[0].size

    def part_for(fields: int) -> ShardWrites:
        nonlocal size
        if size >= FIELDS_A_CALL:
            parts.append(ShardWrites())
            size = 0
        size += fields
        return parts[-1]

    for user_id, fields in writes.stored.items():
        if user_id not in writes.forgotten:
            part_for(len(fields)).stored[user_id] = fields
    for playlist_id, served in writes.served.items():
        part_for(FIELDS_A_PLAYLIST).served[playlist_id] = served
    return parts
