"""Redis' side: stored fields together with the marks that they stand at, read in one script call a shard."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

from redis.asyncio import Redis

from contracts.fold import UNFOLDED_FIELDS
from contracts.marks import MarkName
from contracts.placement import SHARDS, shard_of
from services.profiles.keys import ShardKeys
from services.profiles.store import ProfileStore

_USERS_A_CALL: Final = 20
_READ: Final = """
-- KEYS: marks, then hashes of users of that shard. Returns them in that order.
local found = {}
for i = 1, #KEYS do found[i] = redis.call('HGETALL', KEYS[i]) end
return found
"""
Fields = dict[bytes, bytes]
# A user's hash, or the history of their playlists.
Sort = Literal["u", "h"]


class Stored(NamedTuple):
    """A user's fields as of these marks of the shard (name of a mark -> mark)."""

    fields: Fields
    marks: dict[str, int]


class Profiles:
    """One generation. Every method may raise redis.exceptions.RedisError."""

    def __init__(self, redis: Redis, generation: str) -> None:
        self._redis = redis
        self._generation = generation
        self._read = redis.register_script(_READ)

    async def stored(self, users: Collection[str]) -> dict[str, Stored]:
        """Each of these users; no fields for one who is not there."""
        return await self._stored(users, "u")

    async def kept(self, users: Collection[str], sort: Sort) -> dict[str, Fields]:
        """The hashes of one sort of each of these users, without what is no part of a profile."""
        return {user: stored.fields for user, stored in (await self._stored(users, sort)).items()}

    async def reached(self, ends: Mapping[MarkName, int]) -> bool:
        """Whether every shard that has a mark of these partitions has come so far, and there is one."""
        shards = await ProfileStore(self._redis, self._generation).marks()
        for name, end in ends.items():
            mine = [marks[name.field()] for marks in shards if name.field() in marks]
            if end and (not mine or min(mine) < end):
                return False
        return True

    async def _stored(self, users: Collection[str], sort: Sort) -> dict[str, Stored]:
        found: dict[str, Stored] = {}
        for shard, some in _by_shard(users):
            keys = ShardKeys.of(self._generation, shard)
            hashes = [keys.user(user) if sort == "u" else keys.history(user) for user in some]
            answer: Any = await self._read(keys=[keys.marks, *hashes])
            marks = {name.decode(): int(mark) for name, mark in _pairs(answer[0])}
            for user, flat in zip(some, answer[1:], strict=True):
                fields = {name: value for name, value in _pairs(flat) if name not in UNFOLDED_FIELDS}
                found[user] = Stored(fields, marks)
        return found

    async def users(self, sort: Sort = "u") -> AsyncIterator[str]:
        """Every user who has fields, in no order; one may come twice."""
        prefix = f":{self._generation}:{sort}:"
        async for key in self._redis.scan_iter(match=f"am:{{s??}}{prefix}*", count=2_000):
            yield key.decode().split(prefix, 1)[1]

    async def forgotten(self) -> set[str]:
        """Who is forgotten."""
        pipe = self._redis.pipeline(transaction=False)
        for shard in range(SHARDS):
            pipe.smembers(ShardKeys.of(self._generation, shard).forgotten)
        return {user.decode() for users in await pipe.execute() for user in users}


def _by_shard(users: Collection[str]) -> Iterator[tuple[int, list[str]]]:
    shards: dict[int, list[str]] = defaultdict(list)
    for user in sorted(users):
        shards[shard_of(user)].append(user)
    for shard, members in shards.items():
        for start in range(0, len(members), _USERS_A_CALL):
            yield shard, members[start : start + _USERS_A_CALL]


def _pairs(flat: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
