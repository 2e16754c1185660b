"""The only writer of profiles in Redis: merges and their mark in one script call a shard."""

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import hiredis
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from contracts.placement import SHARDS
from services.profiles.keys import ShardKeys
from services.profiles.scripts import ACCEPTED, MERGE, NO_MARK
from services.profiles.writes import ShardWrites

MergeCallId = tuple[int, str]

PLAYLIST_SECONDS = 30 * 86_400
HISTORY_LISTS = 40
# The store answers all that it finds of one client before it turns to the next: about a millisecond.
FIELDS_IN_FLIGHT: Final = 300


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
        """Merge, in this order. Returns the refused calls as (shard, mark name) -> stored mark, None for none.

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
        pool: Any = self._redis.connection_pool
        connection = await pool.get_connection()
        try:
            # As of any command: what was in flight when a connection broke is sent again on a new one.
            answers: list[int] = await connection.retry.call_with_retry(
                lambda: self._through(connection, calls), lambda error: connection.disconnect(nowait=True)
            )
            return answers
        finally:
            await pool.release(connection)

    async def _through(self, connection: Any, calls: Sequence[MergeCall]) -> list[int]:
        """Keep the store busy, and hardly longer than one call: whoever else asks is answered in between."""
        answers: list[int] = []
        waiting, flying = deque(calls), deque[int]()
        try:
            while waiting or flying:
                packed: list[bytes] = []
                while waiting and (not flying or sum(flying) + waiting[0].writes.size <= FIELDS_IN_FLIGHT):
                    call = waiting.popleft()
                    flying.append(call.writes.size)
                    packed.append(self._packed(call))
                if packed:
                    await connection.send_packed_command(packed)
                answers.append(await connection.read_response())
                flying.popleft()
        except BaseException:
            # The answers that are still to come are nobody's.
            await connection.disconnect(nowait=True)
            raise
        return answers

    def _packed(self, call: MergeCall) -> bytes:
        """By hiredis: redis-py packs argument by argument in Python, which took a quarter of a rebuild's time."""
        keys, args = arguments(self._generation, call, unread=self._unread)
        command: tuple[Any, ...] = ("EVALSHA", self._sha, len(keys), *keys, *args)
        packed: bytes = hiredis.pack_command(command)
        return packed


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
