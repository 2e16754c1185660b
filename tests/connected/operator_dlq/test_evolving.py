"""Two versions of an event in one topic, read by both consumers; a newer version stops them until the upgrade."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from contracts.topics import FEEDBACK
from services.common.kafka.consuming.consumer import EX_TEMPFAIL, Consumer
from services.common.kafka.consuming.dead_letters import DeadLetters
from services.common.settings import KafkaSettings
from services.local.processes.valkey import ValkeyNode
from services.operator.dlq.redriving import redrive
from services.profiles.app import build
from tests.connected.operator_dlq.house import House
from tests.support.evolving import upgraded, v2_value
from tests.support.following import (
    at_end,
    dead_letters,
    folded,
    following,
    producing,
    profiles_in,
    put,
    settings_for,
)
from tests.support.histories import histories

pytestmark = [pytest.mark.connected, pytest.mark.usefixtures("watchful")]

_SEEN = "SELECT event_id, kind, watch_ms, duration_ms FROM animusic.feedback_clean ORDER BY ALL"


async def test_both_versions_have_their_effect_in_both_stores(home: House) -> None:
    events = [event for history in histories(31, 60) for event in history.events]
    mixed = [(e.user_id, v2_value(e) if at % 2 else e.log_value()) for at, e in enumerate(events)]
    with upgraded():
        await home.put(mixed)
        await home.settled()
        assert await home.dead_letters() == []
        assert await profiles_in(home.redis) == folded(events)
        versions = home.ask(
            "SELECT schema, uniqExact(`partition`, `offset`) AS n FROM animusic.feedback GROUP BY schema"
        )
        # Stored as the newest version says it, whatever it was written as.
        assert versions == [{"schema": 2, "n": len(events)}]
        before = home.ask(_SEEN)
        # A wiped store is rebuilt from the same mixed log.
        await home.redis.flushall()
        await home.put([mixed[0]])
        await home.settled()
        assert await profiles_in(home.redis) == folded(events)
        assert home.ask(_SEEN) == before


async def test_a_newer_version_stops_the_consumer_until_the_upgrade(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = [event for history in histories(32, 6) for event in history.events]
    settings = settings_for(log, valkey.url, tmp_path)
    async with producing(log) as to:
        for event in events:
            await put(to, FEEDBACK.name, event.user_id, v2_value(event))
    consumer = await build(settings, redis, CollectorRegistry())
    await consumer.start()
    assert await asyncio.wait_for(_exit_code(consumer), 60) == EX_TEMPFAIL
    assert "schema version 2 is newer than what this program reads (1): upgrade consumers first" in caplog.text
    assert (await profiles_in(redis), await dead_letters(log)) == ({}, [])
    with upgraded():
        async with following(settings, redis):
            await at_end(log, redis)
            assert await profiles_in(redis) == folded(events)


async def _exit_code(consumer: Consumer[Any]) -> object:
    # A SystemExit in a task would end the test run's loop.
    try:
        await consumer.run()
    except SystemExit as stopped:
        return stopped.code
    return None


async def test_a_dead_letter_of_a_newer_version_is_not_redriven_before_the_upgrade(home: House) -> None:
    """Programs before this rule wrote such dead letters."""
    event = next(histories(33, 1)).events[0]
    record = SimpleNamespace(
        topic=FEEDBACK.name, partition=0, offset=0, timestamp=7, headers=(), key=event.user_id.encode(),
        value=v2_value(event),
    )  # fmt: skip
    await DeadLetters(home.producer, "profiles").send(record, "version 2 is not known here", "a" * 32)
    for force in (False, True):
        refused = await redrive(home.log, await home.dead_letters(), force=force)
        ((_, why),) = refused.kept
        assert "upgrade consumers first" in why
    with upgraded():
        assert len((await redrive(home.log, await home.dead_letters())).redriven) == 1
        await home.settled()
        assert await profiles_in(home.redis) == folded([event])
