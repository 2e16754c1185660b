"""Records folded in memory until they are worth a flush, and a flush cut into short script calls. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from contracts.fold import Stored, merge_stored
from contracts.marks import MarkName
from contracts.placement import shard_of
from contracts.plain_feedback import fast_feedback
from contracts.topics import FEEDBACK
from services.common.consuming.model import Poison, Record
from services.profiles.store import MergeCall
from services.profiles.writes import Feedback, ShardWrites, effect_of

# A script call holds up every reader of the store: about half a millisecond each.
FIELDS_A_CALL = 100
MOVES_NO_MARK = -1


@dataclass
class Held:
    """What was read of one partition since its last flush: at most one entry a register, however long the log is."""

    users: dict[bytes, Stored] = field(default_factory=dict)
    others: dict[int, ShardWrites] = field(default_factory=dict)

    def add(self, record: Record) -> bool:
        """Fold one record in; False when it cannot be read."""
        fast = fast_feedback(record.value) if record.topic == FEEDBACK.name and record.value is not None else None
        if fast is None:
            return self._add_slowly(record)
        user_id, name, value = fast
        if name:
            user = self.users.get(user_id)
            if user is None:
                user = self.users[user_id] = {}
            merge_stored(user, name, value)
        return True

    def _add_slowly(self, record: Record) -> bool:
        effect = effect_of(record)
        if isinstance(effect, Poison):
            return False
        if isinstance(effect, Feedback):
            user = self.users.setdefault(effect.user_id.encode(), {})
            for name, value in effect.fields.items():
                merge_stored(user, name, value)
        else:
            self.others.setdefault(shard_of(effect.user_id), ShardWrites()).add(effect)
        return True

    def by_shard(self) -> dict[int, ShardWrites]:
        """Everything held, by the shard of its user; nothing is held afterwards."""
        shards, users = self.others, self.users
        self.others, self.users = {}, {}
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
        # A playlist is two values of a few kilobytes, and its history is sorted when it is full.
        size += 10
    return parts
