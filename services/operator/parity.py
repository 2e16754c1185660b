"""Whether two generations of profiles are equal: order-free digests, compared at equal marks.

What is compared, shard by shard: every user's stored fields (songs, vetoes, anime list), every history of playlists,
and who is forgotten. What is not: the bodies of playlists (they expire; their line in the history names revision, time
and songs), and what readers use to find out what changed.

Both generations may move meanwhile. What is equal is equal: every user is read once by plain commands, which cost the
store far less than a script. A user who differs is read again, both sides' hashes and marks in one script call: what
differs counts only where the marks are equal, and is asked again some times. For users who do not come to rest,
`services.operator.replay.settling` adds what lies between the marks to both sides.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from redis.asyncio import Redis

from contracts.fold import digest_sum
from contracts.placement import SHARDS
from services.operator.readers.redis import Hash, batched, differing, hashes_of, stored_of
from services.profiles.keys import ShardKeys
from services.rebuild.pacing import Pace

_MODULUS: Final = 1 << 128
# The store answers other clients only between two pipelines.
_USERS_A_PIPELINE: Final = 5
_KEYS_A_SCAN: Final = 500
_KEPT_DIFFERENCES: Final = 10_000
_AGAIN: Final = 5
_AGAIN_SECONDS: Final = 0.05
Progress = Callable[[int], None]


class Difference(NamedTuple):
    """One stored field that differs; None where a side does not have it.

    `field` is the field of `contracts.fold`, or `h` and a playlist's id for a line of the history, or `forgotten`.
    """

    user_id: str
    field: bytes
    left: bytes | None
    right: bytes | None


@dataclass
class Parity:
    """What a comparison found.

    Attributes:
        differences: at most 10,000 of them; `different` counts all.
        unsettled: `u:` or `h:` and the id of users who differ while the marks do, so that nothing can be said yet.
        users, fields: compared, of the left side.
        forgotten: users that both sides hold as forgotten.
        histories: playlists in the histories of both sides.
        sums: of the digests of all fields of each side, mod 2**128.
    """

    left: str
    right: str
    differences: list[Difference] = field(default_factory=list)
    different: int = 0
    unsettled: list[str] = field(default_factory=list)
    users: int = 0
    fields: int = 0
    forgotten: int = 0
    histories: int = 0
    sums: tuple[int, int] = (0, 0)
    seconds: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether every user of every shard is the same in both."""
        return not self.different and not self.unsettled

    @property
    def empty(self) -> bool:
        """Whether there was no user to compare."""
        return self.equal and not (self.users or self.histories or self.forgotten)

    def digests(self) -> tuple[str, str]:
        """Of each side as a whole, 32 hex digits."""
        return f"{self.sums[0]:032x}", f"{self.sums[1]:032x}"

    def count(self, name: str, left: Hash, right: Hash) -> None:
        """Take in one user (`u:` and the id) or history (`h:` and the id) as both sides hold it at equal marks."""
        user_id, prefix = name[2:], b"h" if name[:1] == "h" else b""
        one = _sum(user_id, prefix, left)
        other = one if left == right else _sum(user_id, prefix, right)
        self.sums = (self.sums[0] + one) % _MODULUS, (self.sums[1] + other) % _MODULUS
        if prefix:
            self.histories += len(left)
        else:
            self.users += 1
            self.fields += len(left)
        self.note(Difference(user_id, prefix + n, left.get(n), right.get(n)) for n in differing(left, right))

    def note(self, found: Iterable[Difference]) -> None:
        """Count differences, and keep the first."""
        for difference in found:
            self.different += 1
            if len(self.differences) < _KEPT_DIFFERENCES:
                self.differences.append(difference)


async def compare(
    redis: Redis,
    left: str,
    right: str,
    marks: Mapping[str, int],
    *,
    progress: Progress = lambda shards: None,
    rate: float | None = None,
) -> Parity:
    """Compare two generations.

    `marks`: names of the marks that must be equal where the two differ -> the first offset that the log still has: a
    mark below it, or none, is as good as that.

    `rate`: most fields a second; None: as fast as it goes.

    Raises redis.exceptions.RedisError. Nothing is written.
    """
    began, pace = time.monotonic(), Pace(rate, burst_seconds=0.0)
    parity = Parity(left, right)
    users = await _users(redis, (left, right))
    for shard in range(SHARDS):
        await _Shard(redis, shard, marks, pace, parity).run(sorted(users[shard]))
        progress(shard + 1)
    parity.seconds = time.monotonic() - began
    return parity


async def digest_of(redis: Redis, generation: str) -> str:
    """The digest of one generation as a whole, 32 hex digits; nothing in it may move meanwhile."""
    return (await compare(redis, generation, generation, {})).digests()[0]


async def _users(redis: Redis, generations: Sequence[str]) -> list[set[str]]:
    """Shard -> `u:` or `h:` and the id of each user of any of these generations."""
    found: list[set[str]] = [set() for _ in range(SHARDS)]
    for generation in dict.fromkeys(generations):
        async for key in redis.scan_iter(match=f"am:{{s??}}:{generation}:[uh]:*", count=_KEYS_A_SCAN):
            text = key.decode()
            found[int(text[5:7])].add(text[len(ShardKeys.of(generation, 0).prefix) :])
    return found


class _Shard:
    """One shard of both generations. Names are `u:` or `h:` and a user's id."""

    def __init__(self, redis: Redis, shard: int, marks: Mapping[str, int], pace: Pace, parity: Parity) -> None:
        self._redis = redis
        self._pace = pace
        self._parity = parity
        self._keys = [ShardKeys.of(side, shard) for side in (parity.left, parity.right)]
        self._starts = {name.encode(): start for name, start in marks.items()}

    async def run(self, names: list[str]) -> None:
        """Compare all of it, adding to what was found so far."""
        unequal: list[str] = []
        for some in batched(names, _USERS_A_PIPELINE):
            unequal += await self._read(some)
        for turn in range(1 + _AGAIN):
            if turn and unequal:
                await asyncio.sleep(_AGAIN_SECONDS)
            # One by one: so a call is likely to fall between two flushes.
            unequal = [name for name in unequal if not await self._read_at_rest(name)]
        self._parity.unsettled += unequal
        await self._compare_forgotten()

    async def _read(self, names: Sequence[str]) -> list[str]:
        """Count those that are equal; returns the others."""
        pipe = self._redis.pipeline(transaction=False)
        for name in names:
            for side in self._keys:
                pipe.hgetall(side.prefix + name)
        found, unequal, fields = [stored_of(answer) for answer in await pipe.execute()], [], 0
        for name, left, right in zip(names, found[::2], found[1::2], strict=True):
            fields += len(left)
            if left == right:
                self._parity.count(name, left, right)
            else:
                unequal.append(name)
        await self._pace.keep(fields)
        return unequal

    async def _read_at_rest(self, name: str) -> bool:
        """Count one; False when it differs while the marks do, so that nothing can be said."""
        keys = [*(side.marks for side in self._keys), *(side.prefix + name for side in self._keys)]
        *marks, left, right = await hashes_of(self._redis, keys)
        before, after = ({n: max(start, int(side.get(n, 0))) for n, start in self._starts.items()} for side in marks)
        if left != right and before != after:
            return False
        self._parity.count(name, left, right)
        return True

    async def _compare_forgotten(self) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for keys in self._keys:
            pipe.smembers(keys.forgotten)
        left, right = await pipe.execute()
        self._parity.forgotten += len(left & right)
        for user in sorted(left ^ right):
            sides = (b"1" if user in left else None, b"1" if user in right else None)
            self._parity.note([Difference(user.decode(), b"forgotten", *sides)])


def _sum(user_id: str, prefix: bytes, fields: Hash) -> int:
    return digest_sum(user_id, ((prefix + name, value) for name, value in fields.items()) if prefix else fields.items())
