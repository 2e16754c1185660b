"""Script calls are sent some at a time; each answer still belongs to its call."""

from collections.abc import Callable
from uuid import UUID

import pytest
from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.fold import Stored
from contracts.placement import shard_of
from services.profiles.keys import ShardKeys
from services.profiles.store import FIELDS_A_PIPELINE, ProfileStore
from services.profiles.writes import MergeCall, ShardWrites, feedback_of
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


def calls(after: Callable[[int], int] = lambda number: 0) -> list[MergeCall]:
    """A call a listener, more of them than one pipeline takes."""
    assert CALLS * FIELDS > 3 * FIELDS_A_PIPELINE > 3 * FIELDS
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


async def test_a_lost_script_is_loaded_again(redis: Redis):
    store = ProfileStore(redis, "g1")
    assert await store.merge(calls()) == {}
    await redis.script_flush()
    assert await store.merge(calls()) == {}
