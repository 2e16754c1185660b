"""Retrying during an outage, for a bounded time."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from services.common.kafka.consuming.metrics import ConsumerMetrics
from services.common.kafka.consuming.retry import OutageTooLong, RetryPolicy, Stopping


def policy_of(seconds: float) -> tuple[RetryPolicy, asyncio.Event]:
    """A policy of so many seconds, and what stops it."""
    stopping = asyncio.Event()
    return RetryPolicy("test", seconds, stopping, ConsumerMetrics(CollectorRegistry(), "test")), stopping


async def test_a_call_is_tried_until_it_succeeds():
    left = [ConnectionError("away"), TimeoutError("away")]

    async def call() -> str:
        if left:
            raise left.pop()
        return "here"

    policy, _ = policy_of(10)
    assert await policy.retry("the store", call, (ConnectionError, TimeoutError)) == "here"


async def test_an_outage_has_a_limit_and_unknown_errors_are_raised():
    async def away() -> None:
        raise ConnectionError("away")

    policy, stopping = policy_of(0.1)
    with pytest.raises(OutageTooLong, match="animusic doctor"):
        await policy.retry("the store", away, (ConnectionError,))
    with pytest.raises(ConnectionError):
        await policy.retry("the store", away, (TimeoutError,))
    policy, stopping = policy_of(60)
    asyncio.get_running_loop().call_later(0.05, stopping.set)
    with pytest.raises(Stopping):
        await policy.retry("the store", away, (ConnectionError,))


async def test_it_names_what_it_waits_for():
    seen: list[str | None] = []
    policy, _ = policy_of(10)

    async def call() -> str:
        seen.append(policy.waiting_for)
        if len(seen) < 3:
            raise ConnectionError("away")
        return "here"

    await policy.retry("the store", call, (ConnectionError,))
    assert seen == [None, "the store", "the store"]
    assert policy.waiting_for is None
