"""Records folded in memory until they are worth a flush, and a flush cut into short script calls. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from contracts.fold import Stored, merge_stored
from contracts.marks import MarkName
from contracts.placement import shard_of
from contracts.plain_feedback import fast_feedback
from contracts.topics import FEEDBACK
from services.common.kafka.consuming.light import LightRecord
from services.common.kafka.consuming.model import Poison
from services.profiles.store import HISTORY_LISTS, MOVES_NO_MARK, MergeCall
from services.profiles.writes import FIELDS_A_PLAYLIST, Feedback, ShardWrites, effect_of

# A script call holds up every reader of the store: about half a millisecond each.
FIELDS_A_CALL = 100
# Of a shard, until those are left out that would not stay in the store.
_PLAYLISTS_HELD = 1_000


class _Record(NamedTuple):
    topic: str
    offset: int
    value: bytes | None


@dataclass
class Held:
    """What was read of one partition since its last flush: at most one entry a register, however long the log is.

    Of playlists it keeps the newest of each user, as the store does.
    """

    topic: str
    users: dict[bytes, Stored] = field(default_factory=dict)
    others: dict[int, ShardWrites] = field(default_factory=dict)
    _prune_at: int = _PLAYLISTS_HELD

    def add(self, records: Sequence[LightRecord]) -> int:
        """Fold records in; how many of them cannot be read."""
        if self.topic != FEEDBACK.name:
            return sum(not self._add_slowly(record) for record in records)
        poison, users = 0, self.users
        # A record without a value is no feedback, as nothing is.
        for record, plain in zip(records, fast_feedback([value or b"" for _, _, value in records]), strict=True):
            if plain is None:
                poison += not self._add_slowly(record)
                continue
            user_id, name, value = plain
            if name:
                user = users.get(user_id)
                if user is None:
                    users[user_id] = {name: value}
                elif name in user:
                    merge_stored(user, name, value)
                else:
                    user[name] = value
        return poison

    def _add_slowly(self, record: LightRecord) -> bool:
        """By the contract; False when it cannot be read."""
        offset, _, value = record
        effect = effect_of(_Record(self.topic, offset, value))
        if isinstance(effect, Poison):
            return False
        if isinstance(effect, Feedback):
            user = self.users.setdefault(effect.user_id.encode(), {})
            for name, stored in effect.fields.items():
                merge_stored(user, name, stored)
        else:
            writes = self.others.setdefault(shard_of(effect.user_id), ShardWrites())
            writes.add(effect)
            if len(writes.served) >= self._prune_at:
                self._prune(writes)
        return True

    def _prune(self, writes: ShardWrites) -> None:
        writes.keep_newest(HISTORY_LISTS)
        # Where all of them stay (many users), it is not looked at again for each one that comes.
        self._prune_at = max(_PLAYLISTS_HELD, 2 * len(writes.served))

    def by_shard(self) -> dict[int, ShardWrites]:
        """Everything held, by the shard of its user; nothing is held afterwards."""
        shards, users = self.others, self.users
        self.others, self.users, self._prune_at = {}, {}, _PLAYLISTS_HELD
        for writes in shards.values():
            writes.keep_newest(HISTORY_LISTS)
        for encoded, fields in users.items():
            user_id = encoded.decode()
            shards.setdefault(shard_of(user_id), ShardWrites()).stored[user_id] = fields
        return shards


def calls_of(
    name: MarkName, after: int, upto: int, shards: list[int], writes: dict[int, ShardWrites]
) -> Iterator[MergeCall]:
    """The script calls of a flush: short ones, and the last one of each shard moves its mark.

    A mark is written with the last of the effects that it stands for, never before; a call that was refused or lost
    leaves the mark where it was, and all of it is read again.
    """
    for shard in shards:
        *first, last = _cut(writes.get(shard, ShardWrites()))
        for part in first:
            yield MergeCall(shard, name.field(), after, MOVES_NO_MARK, part)
        yield MergeCall(shard, name.field(), after, upto, last)


def _cut(writes: ShardWrites) -> list[ShardWrites]:
    """The same writes in pieces of about FIELDS_A_CALL fields; at least one piece, which may be empty."""
    rest = ShardWrites(lists=writes.lists, forgotten=writes.forgotten)
    parts, size = [rest], len(rest.lists) + len(rest.forgotten)
    for user_id, fields in writes.stored.items():
        if user_id in writes.forgotten:
            continue
        if size >= FIELDS_A_CALL:
            parts.append(ShardWrites())
            size = 0
        parts[-1].stored[user_id] = fields
        size += len(fields)
    for playlist_id, served in writes.served.items():
        if size >= FIELDS_A_CALL:
            parts.append(ShardWrites())
            size = 0
        parts[-1].served[playlist_id] = served
        size += FIELDS_A_PLAYLIST
    return parts
