"""The only writer of profiles in Redis: merges and their mark in one script call a shard.

Users whom a generation that nobody reads does not have yet are created by a command of their own: a script turns each
value into one of Lua's and back, which is half of what it costs the store. The command writes nothing where the user
is there, so a merge is never undone, whoever wrote meanwhile. It cannot see who is forgotten; the script call after it
does, before any mark stands for what was written.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from contracts.fold import Stored
from contracts.placement import SHARDS
from services.profiles.keys import ShardKeys
from services.profiles.scripts import ACCEPTED, MERGE, NO_MARK
from services.profiles.trips import Command, pack, send
from services.profiles.writes import ShardWrites

MergeCallId = tuple[int, str]

PLAYLIST_SECONDS = 30 * 86_400
HISTORY_LISTS = 40
# An answer of its own costs a user about what so many fields cost in the script.
FIELDS_OF_A_CREATION: Final = 16
# As the `upto` of a call that others of the same slice follow.
MOVES_NO_MARK: Final = -1


@dataclass(frozen=True)
class MergeCall:
    """One script call: the effects of a slice of the log on one shard, and the mark that stands for them.

    `after`: the mark that the slice continues from (0: whatever the store has); `upto`: the mark after it.
    """

    shard: int
    mark: str
    after: int
    upto: int
    writes: ShardWrites


class ProfileStore:
    """One generation of profiles.

    `unread`: nobody is expected to read it while it is written: readers who do read whole profiles, and users are
    created without the script by calls that continue from nothing.
    """

    def __init__(self, redis: Redis, generation: str, *, unread: bool = False) -> None:
        self._redis = redis
        self._generation = generation
        self._unread = unread
        # A Redis before 8 and a Valkey before 9 have no HSETEX; then the script creates, too.
        self._creates = unread
        self._sha = ""

    @property
    def generation(self) -> str:
        """Its name."""
        return self._generation

    def other(self, generation: str) -> "ProfileStore":
        """Another generation of the same store."""
        return ProfileStore(self._redis, generation)

    async def marks(self) -> list[dict[str, int]]:
        """Shard -> name of a mark -> mark. Raises redis.exceptions.RedisError."""
        pipe = self._redis.pipeline(transaction=False)
        for shard in range(SHARDS):
            pipe.hgetall(ShardKeys.of(self._generation, shard).marks)
        return [{name.decode(): int(mark) for name, mark in found.items()} for found in await pipe.execute()]

    async def merge(self, calls: Sequence[MergeCall]) -> dict[MergeCallId, int | None]:
        """Merge, in this order. Returns the refused calls as (shard, mark name) -> stored mark, None for none.

        Raises redis.exceptions.RedisError; any of the calls may then have been merged, and merging again is harmless.
        """
        if self._creates:
            calls = await self._created(calls)
        if not self._sha:
            self._sha = await self._redis.script_load(MERGE)
        commands = [Command(call.writes.size, 1, partial(self._packed, call)) for call in calls]
        try:
            answers = await send(self._redis, commands)
        except NoScriptError:
            self._sha = await self._redis.script_load(MERGE)
            answers = await send(self._redis, commands)
        return {
            (call.shard, call.mark): None if answer == NO_MARK else answer
            for call, answer in zip(calls, answers, strict=True)
            if answer != ACCEPTED
        }

    async def _created(self, calls: Sequence[MergeCall]) -> list[MergeCall]:
        """Create whom the store does not have. The calls that are left: of those there is only to see who is gone."""
        fresh = {number: users for number, call in enumerate(calls) if not call.after and (users := _fresh(call))}
        commands = [
            Command(calls[number].writes.size, len(users), partial(self._creations, calls[number].shard, users))
            for number, users in fresh.items()
        ]
        try:
            answers = iter(await send(self._redis, commands) if commands else [])
        except ResponseError as error:
            if "hsetex" not in str(error).lower():
                raise
            self._creates = False
            return list(calls)
        return _left_of(calls, {n: {user for user in users if next(answers)} for n, users in fresh.items()})

    def _creations(self, shard: int, users: Mapping[str, Stored]) -> bytes:
        # As the script creates them: a version that never comes twice, and a log of changes that does not tell.
        names, version = ShardKeys.of(self._generation, shard), os.urandom(8)
        head, both = ("FNX", "FIELDS"), ("#", version, "~", version + bytes(2))
        return b"".join(
            pack("HSETEX", names.user(user_id), *head, len(fields) + 2, *both, *chain.from_iterable(fields.items()))
            for user_id, fields in users.items()
        )

    def _packed(self, call: MergeCall) -> bytes:
        keys, args = arguments(self._generation, call, unread=self._unread)
        return pack("EVALSHA", self._sha, len(keys), *keys, *args)


def _fresh(call: MergeCall) -> dict[str, Stored]:
    """Users with much feedback to store, where the store may not have them yet."""
    users, gone = call.writes.stored.items(), call.writes.forgotten
    return {user_id: fields for user_id, fields in users if len(fields) >= FIELDS_OF_A_CREATION and user_id not in gone}


def _left_of(calls: Sequence[MergeCall], created: Mapping[int, set[str]]) -> list[MergeCall]:
    """Calls by whose number users were created, without those users' feedback.

    Of a call of which nothing else is left the users are named by the next one of its shard and mark.
    """
    left: dict[int, MergeCall] = {}
    next_of: dict[MergeCallId, int] = {}
    for number in range(len(calls) - 1, -1, -1):
        call = calls[number]
        writes = call.writes.after_creating(created.get(number, set()))
        later = next_of.get((call.shard, call.mark))
        if later is not None and call.upto == MOVES_NO_MARK and writes.size == len(writes.created):
            named = left[later].writes.created | writes.created
            left[later] = replace(left[later], writes=replace(left[later].writes, created=named))
        else:
            left[number] = replace(call, writes=writes)
            next_of[call.shard, call.mark] = number
    return [left[number] for number in sorted(left)]


def arguments(generation: str, call: MergeCall, *, unread: bool = False) -> tuple[list[str], list[bytes | str | int]]:
    """KEYS and ARGV of `scripts.MERGE`."""
    names = ShardKeys.of(generation, call.shard)
    keys = [names.marks, names.forgotten]
    # A value that never comes twice, so that a reader never takes a changed profile for the one that it has.
    args: list[bytes | str | int] = [call.after, call.upto, call.mark, os.urandom(8)]
    args += [names.playlists, PLAYLIST_SECONDS, HISTORY_LISTS, int(unread)]
    for user_id in sorted(call.writes.forgotten):
        keys += [names.user(user_id), names.history(user_id)]
        args += ["f", user_id]
    # Of those who were created there is nothing to merge; they are named, so that nobody stays who is forgotten.
    merged: dict[str, Stored] = {user_id: {} for user_id in call.writes.created} | call.writes.fields()
    for user_id, fields in merged.items():
        keys.append(names.user(user_id))
        args += ["m", user_id, len(fields)]
        args += chain.from_iterable(fields.items())
    for served in call.writes.served.values():
        keys += [names.history(served.user_id), names.playlist(served.playlist_id)]
        args += ["p", served.user_id, served.playlist_id, served.value, served.entry]
    return keys, args
