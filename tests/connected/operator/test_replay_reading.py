"""One reader of a rebuild: a partition after the other while it catches up, then all of them."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.placement import partition_of
from services.common.redis import connect
from services.common.settings import KafkaSettings, RedisSettings
from services.local.processes.valkey import ValkeyNode
from services.operator.replay.job import Job
from services.operator.replay.planning import Bound, planned
from services.operator.replay.reading import _GATHER_SECONDS, Reader
from tests.connected.operator.test_replay_profiles import like, some_events
from tests.support.following import folded, producing, profiles_in, put_events
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected
GENERATION = "g7"


async def job(log: KafkaSettings, valkey: ValkeyNode, *, longer: int = 0) -> Job:
    """All of the log, followed for ever; its ends are said to be `longer` than they are."""
    plan = await planned(log, Bound(), Bound())
    behind = tuple(p.model_copy(update={"end": p.end + longer if p.end else 0}) for p in plan.partitions)
    return Job(kafka=log, redis=RedisSettings(url=valkey.url), generation=GENERATION, partitions=behind, nice=0)


@pytest.mark.parametrize("longer", [0, 3])
async def test_what_lies_behind_is_read_in_turns_and_then_all_is_followed(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, monkeypatch: pytest.MonkeyPatch, longer: int
):
    """A log that ends before where it was seen to end (its tail is lost) does not hold up the others' turns."""
    monkeypatch.setattr("services.operator.replay.reading._AT_ONCE", 10)
    monkeypatch.setattr("services.operator.replay.reading._TURN_SECONDS", 0.3)
    events = some_events(8, 60)
    read: list[tuple[str, int]] = []
    fold = Reader._fold
    monkeypatch.setattr(Reader, "_fold", lambda self, tp, *rest: (read.append(tp), fold(self, tp, *rest))[1])
    async with producing(log) as to:
        await put_events(to, events)
        async with reading(log, valkey, longer=longer):
            await apoll(lambda: caught_up(redis, events), what="all of it is in the generation")
            turns = [place for place, _ in itertools.groupby(read)]
            assert len(turns) > 2, "more than one partition was read"
            assert len(turns) == len(set(turns)), "a turn was interrupted"
            assert len(read) > len(turns), "a turn was of several fetches"
            # Those whose turns are over, and those that never had one.
            late = [like(f"late{number}", "s") for number in range(40)]
            assert len({partition_of(event.user_id, log.partitions) for event in late}) > 4
            await put_events(to, late)
            await apoll(lambda: caught_up(redis, [*events, *late]), what="what came later is in it, too")


async def test_who_has_caught_up_lets_the_log_gather(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, monkeypatch: pytest.MonkeyPatch
):
    """Records that come one by one are written some at a time: a flush for each would cost listeners more."""
    events = [like(f"u{number}", "s", number) for number in range(60)]
    flushed: list[int] = []
    write = Reader._write
    monkeypatch.setattr(
        Reader, "_write", lambda self, calls, *rest: (flushed.append(len(calls)), write(self, calls, *rest))[1]
    )
    async with producing(log) as to, reading(log, valkey) as reader:
        await put_events(to, events[:1])
        await apoll(lambda: caught_up(redis, events[:1]), what="it follows")
        flushed.clear()
        began = time.monotonic()
        for event in events[1:]:
            await put_events(to, [event])
        await apoll(lambda: caught_up(redis, events), what="what came one by one is in the generation")
        assert 1 <= len(flushed) <= 2 + (time.monotonic() - began) / _GATHER_SECONDS
        reader.hurry()
        flushed.clear()
        for number in range(60):
            events.append(like(f"h{number}", "s", number))
            await put_events(to, events[-1:])
            await apoll(lambda: caught_up(redis, events), what="what came is in the generation at once")
        assert len(flushed) >= 60


@asynccontextmanager
async def reading(log: KafkaSettings, valkey: ValkeyNode, *, longer: int = 0) -> AsyncIterator[Reader]:
    """A reader at work; it is stopped with the block, and has nothing to complain of."""
    writer = connect(RedisSettings(url=valkey.url))
    reader = Reader(await job(log, valkey, longer=longer), writer)
    await reader.start()
    running = asyncio.create_task(reader.run())
    try:
        yield reader
    finally:
        reader.stop()
        await running
        await reader.close()
        await writer.aclose()
    assert reader.report().error == ""


async def caught_up(redis: Redis, events: list[FeedbackEvent]) -> bool:
    """Whether the generation is the fold of these events."""
    return await profiles_in(redis, GENERATION) == folded(events)
