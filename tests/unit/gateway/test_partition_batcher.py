"""Group commit: which posts share a batch, and where each then lies. The batches are aiokafka's own."""

import asyncio

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder

from services.gateway.partition_batcher import BATCH_BYTES, PartitionBatcher, PendingAppend, fail

NOW = 1_790_000_000_000


def pending(n: int, size: int = 10) -> PendingAppend:
    return PendingAppend(b"u1", [b"x" * size] * n, NOW, asyncio.get_running_loop().create_future())


def builder() -> BatchBuilder:
    return BatchBuilder(BATCH_BYTES, 0)


async def test_posts_share_a_batch_and_each_gets_its_own_offset() -> None:
    batcher = PartitionBatcher(0)
    posts = [pending(3), pending(1), pending(2)]
    batcher.waiting.extend(posts)
    batch = builder()
    taken, size = batcher.fill(batch)
    assert (taken, size, batch.record_count()) == (posts, sum(each.size for each in posts), 6)
    batcher.settle(taken, 100)
    assert [each.done.result() for each in posts] == [100, 103, 104]
    assert batcher.next_offset == 106


async def test_a_post_that_timed_out_is_not_written() -> None:
    batcher = PartitionBatcher(0)
    gone, stays = pending(2), pending(1)
    gone.done.cancel()
    batcher.waiting.extend([gone, stays])
    batch = builder()
    taken, size = batcher.fill(batch)
    assert (taken, size, batch.record_count()) == ([stays], gone.size + stays.size, 1)


async def test_a_post_that_does_not_fit_waits_for_the_next_batch() -> None:
    batcher = PartitionBatcher(0)
    first, second = pending(5, 100_000), pending(5, 100_000)
    batcher.waiting.extend([first, second])
    assert batcher.fill(builder())[0] == [first]
    assert batcher.fill(builder())[0] == [second]


async def test_the_largest_post_fits_into_one_batch() -> None:
    batcher = PartitionBatcher(0)
    batcher.waiting.append(pending(500, 1_500))
    batch = builder()
    assert len(batcher.fill(batch)[0]) == 1
    assert batch.record_count() == 500


async def test_a_failed_batch_fails_every_waiting_post() -> None:
    listening, gone = pending(1), pending(1)
    gone.done.cancel()
    fail([gone, listening], ConnectionError("the broker went"))
    with pytest.raises(ConnectionError):
        await listening.done
