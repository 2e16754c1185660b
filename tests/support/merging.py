"""Feedback into Redis through the real script, without a log: for tests that compare stores."""

from collections.abc import Iterable

from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.fold import UNFOLDED_FIELDS
from services.profiles.keys import ShardKeys
from services.profiles.store import ProfileStore
from services.profiles.writes import MergeCall, by_shard, feedback_of

MARK = "0" * 32 + "/0"


async def merge_events(redis: Redis, generation: str, events: Iterable[FeedbackEvent]) -> None:
    """Merge one batch of events of any users, as a flush of the consumer does; no mark moves."""
    shards = by_shard([feedback_of(event) for event in events])
    calls = [MergeCall(shard, MARK, 0, 0, writes) for shard, writes in shards.items()]
    refused = await ProfileStore(redis, generation).merge(calls)
    assert not refused


async def stored(redis: Redis, generation: str, user_id: str) -> dict[bytes, bytes]:
    """A user's fields as Redis holds them, without the version: what contracts.fold.stored_fields must equal."""
    fields: dict[bytes, bytes] = await redis.hgetall(ShardKeys.of_user(generation, user_id).user(user_id))
    for name in UNFOLDED_FIELDS:
        fields.pop(name, None)
    return fields
