"""Whether two generations of profiles hold the same: digests without any order, compared at equal marks.

What is compared, shard by shard: every user's stored fields (songs, vetoes, anime list), every history of playlists,
and who is forgotten. What is not: the bodies of playlists (they expire; their line in the history names revision, time
and songs), and what readers use to find out what changed.

Both generations may move meanwhile. What is equal is equal: everybody is read once by plain commands, which cost the
store far less than a script. Whoever differs is read again, both sides' hashes and marks in one script call: what
differs counts only where the marks are equal, and is asked again some times. For users who do not come to rest,
`services.operator.replay.settling` adds what lies between the marks to both sides.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from redis.asyncio import Redis

from contracts.fold import UNFOLDED_FIELDS, digest_sum
from contracts.placement import SHARDS
from services.operator.pacing import Pace
from services.profiles.keys import ShardKeys
from services.profiles.trips import Command, pack, send

_MODULUS: Final = 1 << 128
# Held at a time, and compared while the store has time for others.
_FIELDS_A_TRIP: Final = 2_000
_KEYS_A_SCAN: Final = 500
_KEPT_DIFFERENCES: Final = 10_000
_AGAIN: Final = 5
_AGAIN_SECONDS: Final = 0.05
_HISTORY: Final = b"h"

_READ: Final = """
-- KEYS: marks of both sides, then a hash of both. Returns them in that order.
local found = {}
for i = 1, #KEYS do found[i] = redis.call('HGETALL', KEYS[i]) end
return found
"""
Hash = dict[bytes, bytes]
Answer = Hash | list[bytes]
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
class ShardDigest:
    """One shard of both generations: sums of the digests of all fields, mod 2**128."""

    shard: int
    users: int = 0
    fields: int = 0
    left: int = 0
    right: int = 0


@dataclass
class Parity:
    """What a comparison found.

    Attributes:
        differences: at most 10,000 of them; `different` counts all.
        unsettled: `u:` or `h:` and the id of users who differ while the marks do, so that nothing can be said yet.
        forgotten: users that both sides hold as forgotten.
        histories: playlists in the histories of both sides.
    """

    left: str
    right: str
    shards: list[ShardDigest] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    different: int = 0
    unsettled: list[str] = field(default_factory=list)
    forgotten: int = 0
    histories: int = 0
    seconds: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether every user of every shard is the same in both."""
        return not self.different and not self.unsettled

    @property
    def empty(self) -> bool:
        """Whether there was nobody to compare."""
        return self.equal and not (self.users or self.histories or self.forgotten)

    @property
    def users(self) -> int:
        """How many users were compared."""
        return sum(shard.users for shard in self.shards)

    @property
    def fields(self) -> int:
        """How many stored fields the left side has."""
        return sum(shard.fields for shard in self.shards)

    def digests(self) -> tuple[str, str]:
        """Of each side as a whole, 32 hex digits."""
        left, right = (sum(getattr(s, side) for s in self.shards) % _MODULUS for side in ("left", "right"))
        return f"{left:032x}", f"{right:032x}"

    def count(self, shard: int, name: str, left: Hash, right: Hash) -> None:
        """Take in one user (`u:` and the id) or history (`h:` and the id) as both sides hold it at equal marks."""
        user_id, prefix = name[2:], _HISTORY if name[:1] == "h" else b""
        digest, same, sums = _sum(user_id, prefix, left), left == right, self.shards[shard]
        sums.left = (sums.left + digest) % _MODULUS
        sums.right = (sums.right + (digest if same else _sum(user_id, prefix, right))) % _MODULUS
        if prefix:
            self.histories += len(left)
        else:
            sums.users += 1
            sums.fields += len(left)
        if not same:
            self.note(_differences(user_id, prefix, left, right))

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
    parity = Parity(left, right, [ShardDigest(shard) for shard in range(SHARDS)])
    users = await _users(redis, (left, right))
    for shard in range(SHARDS):
        await _Shard(redis, (left, right), shard, marks, pace).run(sorted(users[shard]), parity)
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

    def __init__(self, redis: Redis, sides: tuple[str, str], shard: int, marks: Mapping[str, int], pace: Pace) -> None:
        self._redis = redis
        self._pace = pace
        self._keys = [ShardKeys.of(side, shard) for side in sides]
        self._shard = shard
        self._starts = {name.encode(): start for name, start in marks.items()}
        self._read = redis.register_script(_READ)

    async def run(self, names: list[str], parity: Parity) -> None:
        """Compare all of it, adding to what was found so far."""
        differing: list[str] = []
        for some in _pieces(names, await self._sizes(names)):
            differing += await self._look(some, parity)
            await self._pace.keep(sum(some.values()) // 2)
        for turn in range(1 + _AGAIN):
            if turn and differing:
                await asyncio.sleep(_AGAIN_SECONDS)
            # One by one: so a call is likely to fall between two flushes.
            differing = [name for name in differing if not await self._look_at_rest(name, parity)]
        parity.unsettled += differing
        await self._compare_forgotten(parity)

    async def _sizes(self, names: list[str]) -> list[int]:
        """How many fields both sides have together."""
        found = iter(await send(self._redis, [Command(1, 2, partial(self._both, "HLEN", name)) for name in names]))
        return [left + right for left, right in zip(found, found, strict=True)]

    async def _look(self, sizes: dict[str, int], parity: Parity) -> list[str]:
        """Compare these, of so many fields each; returns those that differ."""
        commands = [Command(fields, 2, partial(self._both, "HGETALL", name)) for name, fields in sizes.items()]
        found = iter(await send(self._redis, commands))
        return [name for name in sizes if not self._same(name, next(found), next(found), parity)]

    def _both(self, command: str, name: str) -> bytes:
        return b"".join(pack(command, side.prefix + name) for side in self._keys)

    def _same(self, name: str, left: Answer, right: Answer, parity: Parity) -> bool:
        sides = stored_of(left), stored_of(right)
        if sides[0] == sides[1]:
            parity.count(self._shard, name, *sides)
        return sides[0] == sides[1]

    async def _look_at_rest(self, name: str, parity: Parity) -> bool:
        """Compare one; False when it differs while the marks do, so that nothing can be said."""
        keys = [*(side.marks for side in self._keys), *(side.prefix + name for side in self._keys)]
        marks_left, marks_right, left, right = await self._read(keys=keys)
        if self._same(name, left, right, parity):
            return True
        if self._standing(marks_left) != self._standing(marks_right):
            return False
        parity.count(self._shard, name, stored_of(left), stored_of(right))
        return True

    def _standing(self, flat: list[bytes]) -> dict[bytes, int]:
        stored = dict(zip(flat[::2], flat[1::2], strict=True))
        return {name: max(start, int(stored.get(name, 0))) for name, start in self._starts.items()}

    async def _compare_forgotten(self, parity: Parity) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for keys in self._keys:
            pipe.smembers(keys.forgotten)
        left, right = await pipe.execute()
        parity.forgotten += len(left & right)
        for user in sorted(left ^ right):
            sides = (b"1" if user in left else None, b"1" if user in right else None)
            parity.note([Difference(user.decode(), b"forgotten", *sides)])


def _pieces(names: list[str], sizes: list[int]) -> Iterator[dict[str, int]]:
    piece: dict[str, int] = {}
    held = 0
    for name, fields in zip(names, sizes, strict=True):
        if piece and held + fields > _FIELDS_A_TRIP:
            yield piece
            piece, held = {}, 0
        piece[name] = fields
        held += fields
    if piece:
        yield piece


def stored_of(found: Answer) -> Hash:
    """A hash without what is no part of a profile, from HGETALL's answer: a map, or in scripts and RESP 2 flat."""
    fields = dict(found) if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
    for name in UNFOLDED_FIELDS:
        fields.pop(name, None)
    return fields


def _sum(user_id: str, prefix: bytes, fields: Hash) -> int:
    return digest_sum(user_id, ((prefix + name, value) for name, value in fields.items()) if prefix else fields.items())


def _differences(user_id: str, prefix: bytes, left: Hash, right: Hash) -> Iterator[Difference]:
    for name in sorted(left.keys() | right.keys()):
        if left.get(name) != right.get(name):
            yield Difference(user_id, prefix + name, left.get(name), right.get(name))
