"""The only writer of profiles in Redis: merges and their mark in one script call a shard."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from contracts.placement import SHARDS
from services.profiles.keys import ShardKeys
from services.profiles.scripts import ACCEPTED, MERGE, NO_MARK
from services.profiles.writes import ShardWrites

MergeCallId = tuple[int, str]

PLAYLIST_SECONDS = 30 * 86_400
HISTORY_LISTS = 40


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

    `unread`: nobody is expected to read it while it is written, so that readers who do read whole profiles.
    """

    def __init__(self, redis: Redis, generation: str, *, unread: bool = False) -> None:
        self._redis = redis
        self._generation = generation
        self._unread = unread
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
        """Merge, in one round trip. Returns the refused calls as (shard, mark name) -> stored mark, None for none.

        Raises redis.exceptions.RedisError; any of the calls may then have been merged, and merging again is harmless.
        """
        if not self._sha:
            self._sha = await self._redis.script_load(MERGE)
        try:
            answers = await self._send(calls)
        except NoScriptError:
            self._sha = await self._redis.script_load(MERGE)
            answers = await self._send(calls)
        return {
            (call.shard, call.mark): None if answer == NO_MARK else answer
            for call, answer in zip(calls, answers, strict=True)
            if answer != ACCEPTED
        }

    async def _send(self, calls: Sequence[MergeCall]) -> list[int]:
        pipe = self._redis.pipeline(transaction=False)
        for call in calls:
            keys, args = arguments(self._generation, call, unread=self._unread)
            pipe.evalsha(self._sha, len(keys), *keys, *args)
        answers: list[int] = await pipe.execute()
        return answers


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
    for user_id, fields in call.writes.fields().items():
        keys.append(names.user(user_id))
        args += ["m", user_id, len(fields)]
        for name, value in fields.items():
            args += [name, value]
    for served in call.writes.served.values():
        keys += [names.history(served.user_id), names.playlist(served.playlist_id)]
        args += ["p", served.user_id, served.playlist_id, served.value, served.entry]
    return keys, args
