"""Profiles in Redis: marks, users, and their stored fields."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

from redis.asyncio import Redis

from contracts.fold import UNFOLDED_FIELDS
from contracts.marks import MarkName
from contracts.placement import SHARDS, shards_of_partition
from services.common.redis import script
from services.operator.readers.log import Offsets
from services.profiles.generations import Generations
from services.profiles.keys import ShardKeys
from services.profiles.store import ProfileStore

_USERS_A_PIPELINE: Final = 20
_READ: Final = script("services.operator", "read_hashes")
Hash = dict[bytes, bytes]
# A user's hash (`u`), or the history of a user's playlists (`h`).
Sort = Literal["u", "h"]


class ProfilesReader:
    """One generation. Every method may raise redis.exceptions.RedisError."""

    def __init__(self, redis: Redis, generation: str) -> None:
        self._redis = redis
        self.generation = generation

    @classmethod
    async def live(cls, redis: Redis) -> "ProfilesReader":
        """The generation that is served."""
        return cls(redis, await Generations(redis).live())

    async def marks(self, log: Offsets) -> dict[MarkName, int]:
        """The mark of each partition: the lowest of the shards that it holds; none where a shard has none."""
        return lowest(await ProfileStore(self._redis, self.generation).marks(), log)

    async def stored(self, users: Iterable[str], sort: Sort = "u") -> dict[str, Hash]:
        """The hash of each of these users; empty for one who is not there."""
        found: dict[str, Hash] = {}
        for some in batched(sorted(users), _USERS_A_PIPELINE):
            pipe = self._redis.pipeline(transaction=False)
            for user in some:
                pipe.hgetall(f"{ShardKeys.of_user(self.generation, user).prefix}{sort}:{user}")
            found |= dict(zip(some, map(stored_of, await pipe.execute()), strict=True))
        return found

    async def users(self, sort: Sort = "u") -> AsyncIterator[str]:
        """Every user who has such a hash, in no order; one may come twice."""
        prefix = f":{self.generation}:{sort}:"
        async for key in self._redis.scan_iter(match=f"am:{{s??}}{prefix}*", count=2_000):
            yield key.decode().split(prefix, 1)[1]

    async def forgotten(self) -> set[str]:
        """Who is forgotten."""
        pipe = self._redis.pipeline(transaction=False)
        for shard in range(SHARDS):
            pipe.smembers(ShardKeys.of(self.generation, shard).forgotten)
        return {user.decode() for users in await pipe.execute() for user in users}


async def hashes_of(redis: Redis, keys: Sequence[str]) -> list[Hash]:
    """Hashes of one shard, read at one moment, without what is no part of a profile."""
    return [stored_of(found) for found in await redis.register_script(_READ)(keys=keys)]


def stored_of(answer: Mapping[bytes, bytes] | Sequence[bytes]) -> Hash:
    """A hash without what is no part of a profile, from HGETALL's answer: a map, or in scripts and RESP 2 flat."""
    if isinstance(answer, Mapping):
        return {name: value for name, value in answer.items() if name not in UNFOLDED_FIELDS}
    return stored_of(dict(zip(answer[::2], answer[1::2], strict=True)))


def differing(left: Mapping[bytes, bytes], right: Mapping[bytes, bytes]) -> list[bytes]:
    """The fields that two hashes do not hold alike, sorted."""
    return [name for name in sorted(left.keys() | right.keys()) if left.get(name) != right.get(name)]


def lowest(stored: Sequence[Mapping[str, int]], log: Offsets) -> dict[MarkName, int]:
    """Shard -> marks becomes partition -> mark, where every shard of the partition has one."""
    found: dict[MarkName, int] = {}
    for tp in log.ends:
        name = log.mark(tp)
        shards = set(shards_of_partition(tp.partition, log.partitions(tp.topic)))
        shards |= {shard for shard in range(SHARDS) if name.field() in stored[shard]}
        marks = [stored[shard].get(name.field()) for shard in shards]
        if marks and None not in marks:
            found[name] = min(mark for mark in marks if mark is not None)
    return found


def batched(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """As many names as are asked for at once."""
    for start in range(0, len(names), size):
        yield names[start : start + size]
