"""Two generations compared: what differs is named, whichever answers the store gives and however much there is."""

import pytest
from redis.asyncio import Redis

from contracts.fold import user_digest
from contracts.placement import shard_of
from services.common.redis import connect
from services.common.settings import RedisSettings
from services.local.processes.valkey import ValkeyNode
from services.operator.parity import _USERS_A_PIPELINE, Difference, compare, digest_of
from services.profiles.keys import ShardKeys

pytestmark = pytest.mark.connected

FIELDS = 70
# All of one shard, so that they do not fit into one pipeline.
USERS = [user for user in (f"u{number}" for number in range(10_000)) if shard_of(user) == shard_of("u0")][:50]
MARKS = {"topic/0": 0}


def profile(user: str) -> dict[bytes, bytes]:
    """The fields of one user, each with its own value."""
    return {f"s{number}".encode(): f"{user} {number}".encode() for number in range(FIELDS)}


async def put(redis: Redis, generation: str, user: str, fields: dict[bytes, bytes]) -> None:
    """Store fields as the store of profiles does: with a version that differs from generation to generation."""
    kept = {**fields, b"#": generation.encode(), b"~": generation.encode()}
    await redis.hset(ShardKeys.of_user(generation, user).user(user), mapping=kept)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_what_differs_is_named_and_all_else_is_equal(redis: Redis, valkey: ValkeyNode, protocol: int):
    assert len(USERS) > 1.5 * _USERS_A_PIPELINE
    changed, only_left, only_right, *same = USERS
    for user in (changed, only_left, *same):
        await put(redis, "g1", user, profile(user))
    for user in (changed, only_right, *same):
        await put(redis, "g2", user, profile(user) | ({b"s7": b"other"} if user == changed else {}))
    client = connect(RedisSettings(url=f"{valkey.url}?protocol={protocol}"))
    try:
        found = await compare(client, "g1", "g2", MARKS)
        digest = await digest_of(client, "g1")
    finally:
        await client.aclose()
    expected = {Difference(changed, b"s7", f"{changed} 7".encode(), b"other")}
    expected |= {Difference(only_left, name, value, None) for name, value in profile(only_left).items()}
    expected |= {Difference(only_right, name, None, value) for name, value in profile(only_right).items()}
    assert set(found.differences) == expected
    assert (found.different, found.unsettled, found.users) == (len(expected), [], len(USERS))
    assert found.fields == FIELDS * (len(USERS) - 1)
    sums = sum(int(user_digest(user, profile(user)), 16) for user in (changed, only_left, *same))
    assert digest == found.digests()[0] == f"{sums % (1 << 128):032x}"


async def test_nothing_is_said_of_who_differs_while_the_marks_do(redis: Redis):
    for number, generation in enumerate(("g1", "g2")):
        await put(redis, generation, "u0", {b"s1": str(number).encode()})
        await redis.hset(ShardKeys.of_user(generation, "u0").marks, "topic/0", 5 + number)
    found = await compare(redis, "g1", "g2", MARKS)
    assert (found.unsettled, found.different, found.equal) == (["u:u0"], 0, False)
    await redis.hset(ShardKeys.of_user("g1", "u0").marks, "topic/0", 6)
    found = await compare(redis, "g1", "g2", MARKS)
    assert (found.unsettled, found.differences) == ([], [Difference("u0", b"s1", b"0", b"1")])
