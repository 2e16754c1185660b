"""Script calls are sent while others are in flight; each answer still belongs to its call."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import pytest
import redis as blocking
from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.fold import Stored
from contracts.placement import shard_of
from services.common.redis import connect
from services.common.settings import RedisSettings
from services.local.processes.valkey import ValkeyNode
from services.profiles.keys import ShardKeys
from services.profiles.store import MergeCall, ProfileStore
from services.profiles.trips import FIELDS_IN_FLIGHT
from services.profiles.writes import ShardWrites, feedback_of
from tests.support.histories import BASE_MS

pytestmark = pytest.mark.connected
MARK = f"{'b' * 32}/0"
CALLS, FIELDS = 60, 40


def fields_of(number: int) -> Stored:
    """What likes of one listener store."""
    fields: Stored = {}
    for song in range(FIELDS):
        fields |= feedback_of(
            FeedbackEvent(
                event_id=UUID(int=number * FIELDS + song), kind="liked", user_id=f"u{number}", song_id=f"s{song}",
                occurred_at=BASE_MS, received_at=BASE_MS,
            )
        ).fields  # fmt: skip
    return fields


def fresh() -> list[MergeCall]:
    """Of a first flush: a call a listener, and one more that moves the mark of each shard."""
    ends = [MergeCall(shard, MARK, 0, 9, ShardWrites()) for shard in sorted({call.shard for call in calls()})]
    return [*calls(), *ends]


def calls(after: Callable[[int], int] = lambda number: 0) -> list[MergeCall]:
    """A call a listener, more of them than are in flight at a time."""
    assert CALLS * FIELDS > 3 * FIELDS_IN_FLIGHT > 3 * FIELDS
    return [
        MergeCall(shard_of(f"u{n}"), MARK, after(n), -1, ShardWrites(stored={f"u{n}": fields_of(n)}))
        for n in range(CALLS)
    ]


async def listeners(redis: Redis, generation: str) -> dict[str, int]:
    """How many fields the store has of each listener."""
    sizes = {}
    for number in range(CALLS):
        keys = ShardKeys.of_user(generation, f"u{number}")
        sizes[f"u{number}"] = await redis.hlen(keys.user(f"u{number}"))
    return sizes


async def test_each_answer_is_of_its_call(redis: Redis):
    store = ProfileStore(redis, "g1")
    asked = calls(after=lambda number: 7 if number % 3 == 0 else 0)
    refused = {call.shard for call in asked if call.after}
    assert await store.merge(asked) == {(shard, MARK): None for shard in refused}
    written = {name for name, size in (await listeners(redis, "g1")).items() if size}
    assert written == {f"u{number}" for number in range(CALLS) if number % 3}


async def test_a_connection_that_breaks_in_flight_costs_nothing(
    redis: Redis, valkey: ValkeyNode, monkeypatch: pytest.MonkeyPatch
):
    client = connect(RedisSettings(url=valkey.url))
    store, packed = ProfileStore(client, "g1"), 0
    pack = store._packed

    def break_once(call: MergeCall) -> bytes:
        nonlocal packed
        packed += 1
        if packed == CALLS // 2:
            with blocking.Redis.from_url(valkey.url) as other:
                assert other.client_kill_filter(_type="normal", skipme=True)
        return pack(call)

    monkeypatch.setattr(store, "_packed", break_once)
    assert await store.merge(calls()) == {}
    assert packed > CALLS, "it was not sent again"
    await client.aclose()
    assert set((await listeners(redis, "g1")).values()) == {FIELDS + len((b"#", b"~"))}


async def test_what_is_given_up_in_flight_leaves_no_answers_behind(redis: Redis, monkeypatch: pytest.MonkeyPatch):
    store = ProfileStore(redis, "g1")
    pack, reached = store._packed, asyncio.Event()

    def tell(call: MergeCall) -> bytes:
        if call.writes.stored.keys() == {f"u{CALLS // 2}"}:
            reached.set()
        return pack(call)

    monkeypatch.setattr(store, "_packed", tell)
    merging = asyncio.create_task(store.merge(calls()))
    await reached.wait()
    while not merging.done():
        # Python before 3.12 may lose a cancel that comes together with an answer.
        merging.cancel()
        await asyncio.sleep(0)
    assert merging.cancelled()
    await redis.set("mine", "right")
    assert [await redis.get("mine") for _ in range(4)] == [b"right"] * 4
    assert await store.merge(calls()) == {}


async def test_a_store_that_forgot_the_script_is_told_again(redis: Redis):
    store = ProfileStore(redis, "g1")
    assert await store.merge(calls()) == {}
    await redis.script_flush()
    assert await store.merge(calls()) == {}


async def everything(redis: Redis, generation: str) -> dict[bytes, dict[bytes, bytes]]:
    """Every hash of a generation, without what differs from write to write; that is there, in each."""
    found = {}
    async for key in redis.scan_iter(match=f"am:*:{generation}:*", count=1_000):
        if await redis.type(key) == b"hash":
            fields: dict[bytes, bytes] = await redis.hgetall(key)
            if b":u:" in key:
                version, log = fields.pop(b"#"), fields.pop(b"~")
                assert log == version + bytes(2)
            found[key.replace(b":" + generation.encode() + b":", b":")] = fields
    return found


async def test_who_is_new_is_created_as_the_script_would(redis: Redis):
    assert await ProfileStore(redis, "g1").merge(fresh()) == {}
    assert await ProfileStore(redis, "g2", unread=True).merge(fresh()) == {}
    assert await everything(redis, "g2") == await everything(redis, "g1")
    assert len({await redis.hget(ShardKeys.of_user("g2", f"u{n}").user(f"u{n}"), "#") for n in range(CALLS)}) == CALLS


async def test_who_is_there_already_is_merged(redis: Redis):
    """What others wrote meanwhile is never overwritten: here it is higher, or of another song."""
    for generation, unread in (("g1", False), ("g2", True)):
        for number in range(0, CALLS, 2):
            (name, value), *_ = fields_of(number).items()
            key = ShardKeys.of_user(generation, f"u{number}").user(f"u{number}")
            higher = b"\xff" + value[1:]
            await redis.hset(
                key, mapping={name: higher, b"sother": value, "#": b"8 bytes!", "~": b"8 bytes!" + bytes(2)}
            )
        await ProfileStore(redis, generation, unread=unread).merge(fresh())
    for number in range(CALLS):
        one, two = [await redis.hgetall(ShardKeys.of_user(g, f"u{number}").user(f"u{number}")) for g in ("g1", "g2")]
        for name in (b"#", b"~"):
            assert one.pop(name) != two.pop(name)
        assert one == two
        assert (b"sother" in two, max(two.values())[:1] == b"\xff") == (
            (True, True) if number % 2 == 0 else (False, False)
        )


async def test_who_is_forgotten_is_not_created(redis: Redis):
    gone = {f"u{number}" for number in range(0, CALLS, 3)}
    for user_id in gone:
        forget = MergeCall(shard_of(user_id), MARK, 0, -1, ShardWrites(forgotten={user_id}))
        assert await ProfileStore(redis, "g2").merge([forget]) == {}
    # As a worker leaves one behind that is killed right after it created a listener.
    left = ShardKeys.of_user("g2", "u0").user("u0")
    await redis.hset(left, mapping={"#": b"8 bytes!", "s1": b"x"})
    assert await ProfileStore(redis, "g2", unread=True).merge(fresh()) == {}
    assert {name for name, size in (await listeners(redis, "g2")).items() if not size} == gone


async def test_where_nobody_can_be_created_the_script_does(redis: Redis, valkey: ValkeyNode):
    """A Redis before 8 does not know the command; a user of the store who may not give it is told much the same."""
    await redis.acl_setuser("old", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-hsetex"])
    old = connect(RedisSettings(url=valkey.url.replace("//", "//old:any@")))
    store = ProfileStore(old, "g2", unread=True)
    assert await store.merge(fresh()) == {}
    assert await store.merge(fresh()) == {}
    await old.aclose()
    await redis.acl_deluser("old")
    assert await ProfileStore(redis, "g1").merge(fresh()) == {}
    assert await everything(redis, "g2") == await everything(redis, "g1")
