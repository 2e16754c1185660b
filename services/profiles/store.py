"""The only writer of profiles in Redis: merges by short script calls; the last call of a shard moves its mark."""

import os
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from contracts.placement import SHARDS
from services.profiles.keys import ShardKeys
from services.profiles.scripts import ACCEPTED, MERGE, NO_MARK
from services.profiles.writes import HISTORY_LISTS, MergeCall

MergeCallId = tuple[int, str]

PLAYLIST_SECONDS = 30 * 86_400
# Redis may execute a whole pipeline before it serves another client: about a millisecond.
FIELDS_A_PIPELINE: Final = 300


class ProfileStore:
    """One generation of profiles."""

    def __init__(self, redis: Redis, generation: str) -> None:
        self._redis = redis
        self._generation = generation
        self._merge = redis.register_script(MERGE)

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

        Raises redis.exceptions.RedisError; some of the calls may then have been merged; merging again is harmless.
        """
        refused: dict[MergeCallId, int | None] = {}
        for some in pipelines(calls):
            try:
                answers = await self._send(some)
            except NoScriptError:
                await self._redis.script_load(MERGE)
                answers = await self._send(some)
            for call, answer in zip(some, answers, strict=True):
                if answer != ACCEPTED:
                    refused[call.shard, call.mark] = None if answer == NO_MARK else answer
        return refused

    async def _send(self, calls: Sequence[MergeCall]) -> list[int]:
        pipe = self._redis.pipeline(transaction=False)
        for call in calls:
            keys, args = arguments(self._generation, call)
            pipe.evalsha(self._merge.sha, len(keys), *keys, *args)
        found: list[Any] = await pipe.execute()
        return found


def pipelines(calls: Sequence[MergeCall]) -> Iterator[list[MergeCall]]:
    """The calls in order, some at a time: about FIELDS_A_PIPELINE fields, at least one call."""
    some: list[MergeCall] = []
    fields = 0
    for call in calls:
        if some and fields + call.writes.size > FIELDS_A_PIPELINE:
            yield some
            some, fields = [], 0
        some.append(call)
        fields += call.writes.size
    if some:
        yield some


def arguments(generation: str, call: MergeCall) -> tuple[list[str], list[bytes | str | int]]:
    """KEYS and ARGV of `scripts.MERGE`."""
    names = ShardKeys.of(generation, call.shard)
    keys = [names.marks, names.forgotten]
    # A unique value, so that a reader always detects a changed profile.
    args: list[bytes | str | int] = [call.after, call.upto, call.mark, os.urandom(8)]
    args += [names.playlists, PLAYLIST_SECONDS, HISTORY_LISTS]
    for user_id in sorted(call.writes.forgotten):
        keys += [names.user(user_id), names.history(user_id)]
        args += ["f", user_id]
    for user_id, fields in call.writes.fields().items():
        keys.append(names.user(user_id))
        args += ["m", user_id, len(fields)]
        args += chain.from_iterable(fields.items())
    for served in call.writes.served.values():
        keys += [names.history(served.user_id), names.playlist(served.playlist_id)]
        args += ["p", served.user_id, served.playlist_id, served.value, served.entry]
    return keys, args
