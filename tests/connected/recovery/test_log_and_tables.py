"""Offsets that are lost or out of range, tables that are emptied under a running consumer: each mends itself."""

import asyncio
import time
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.protocol.admin import DeleteGroupsRequest
from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.topics import FEEDBACK
from services.common.clickhouse import ChdbConnection
from services.common.kafka import partition_counts
from services.common.kafka.consuming.subscription import instance_of
from services.common.settings import KafkaSettings
from services.local.processes.valkey import ValkeyNode
from tests.connected.common.test_consuming import Run, administering, send
from tests.connected.common.test_consuming import running as appending
from tests.connected.warehouse import engine as shared
from tests.support.following import producing, put_events, warehousing
from tests.support.groups import take_out
from tests.support.histories import histories
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected

HEALTHY_SECONDS = 60.0
_NO_SUCH_GROUP = 69
EVENTS: list[FeedbackEvent] = [event for history in histories(31, 60) for event in history.events]


async def test_a_group_whose_offsets_are_lost_goes_on_from_the_stores_marks(log: KafkaSettings, redis: Redis):
    group = f"test.{uuid4().hex}"
    async with appending(log, redis, group) as run:
        await send(log, [b"a", b"b"])
        await run.has(b"a", b"b")
    async with administering(log) as admin:
        counts = await partition_counts(log, [FEEDBACK.name])
        await _without_group(admin, group, instance_of(group, log, counts))
    began = time.monotonic()
    async with appending(log, redis, group) as again:
        await send(log, [b"c"])
        await again.has(b"a", b"b", b"c")
        assert again.counted("gaps") == 0
    _healthy("lost offsets", began)


async def _without_group(admin: AIOKafkaAdminClient, group: str, instance: str) -> None:
    """Delete what Kafka knows of a group, once its only member has left it."""
    await take_out(admin, group, instance)
    coordinator = await admin.find_coordinator(group)
    request = DeleteGroupsRequest([group])

    async def gone() -> bool:
        answer = await admin._send_request(request, coordinator)
        return all(code in (0, _NO_SUCH_GROUP) for _, code in answer.results)

    await apoll(gone, timeout=30, interval=0.2, what="the group is deleted")
    assert await admin.list_consumer_group_offsets(group) == {}


async def test_what_expires_under_a_consumer_that_waits_for_its_store_is_one_gap(
    log: KafkaSettings, redis: Redis, valkey: ValkeyNode
):
    async with appending(log, redis) as run:
        await send(log, [b"a"])
        await run.has(b"a")
        await redis.config_set("maxmemory", 1)
        run.sink.outages = (Exception,)
        # The first is fetched and held by the flush that fails; the rest is behind it and expires unread.
        await send(log, [b"held"])
        await apoll(lambda: _counted(run, "outage_retries"), what="the flush waits")
        await send(log, [b"%d" % number for number in range(50)])
        async with administering(log) as admin:
            await admin.delete_records({TopicPartition(FEEDBACK.name, 0): RecordsToDelete(before_offset=50)})
        began = time.monotonic()
        await redis.config_set("maxmemory", 0)

        async def whole() -> bool:
            values = await run.sink.values()
            return values[0] == b"a" and values[-2:] == [b"48", b"49"]

        await apoll(whole, timeout=HEALTHY_SECONDS, what="it goes on behind what expired")
        found = await run.sink.values()
        assert len(found) == len(set(found)), "nothing came twice"
        assert run.counted("gaps") <= 1
        assert len(found) == 52 or run.counted("gaps") == 1, "what is missing is a recorded gap"
    _healthy("records expired under a waiting consumer", began)


async def _counted(run: Run, name: str) -> float:
    return run.counted(name)


async def test_tables_that_are_emptied_are_filled_again_without_a_restart(
    log: KafkaSettings,
    clickhouse: ChdbConnection,
):
    expected = {(each.user_id, str(each.event_id)) for each in EVENTS}
    asking = shared.engine().connect()

    async def there() -> bool:
        sql = "SELECT user_id, toString(event_id) AS id FROM animusic.feedback_clean"
        rows = (await asyncio.to_thread(asking.query, sql)).to_pylist()
        return {(row["user_id"], row["id"]) for row in rows} == expected and len(rows) == len(expected)

    async def marked() -> bool:
        found = await asyncio.to_thread(asking.query, "SELECT sum(mark) AS marks FROM animusic.marks_clean")
        return bool(found.to_pylist()[0]["marks"] == len(EVENTS))

    async with producing(log) as to:
        await put_events(to, EVENTS)
    async with warehousing(log, clickhouse) as consumer:
        await apoll(there, timeout=30, interval=0.2, what="the warehouse has come to the end")
        # A flush under way would mark what is emptied behind it: it must be over, as when nobody writes.
        await apoll(marked, timeout=30, interval=0.2, what="the marks are there")
        await asyncio.to_thread(_empty, asking)
        began = time.monotonic()
        await apoll(there, timeout=HEALTHY_SECONDS, interval=0.2, what="the rows are back")
        assert consumer.metrics.value("animusic_consumer_refusals") > 0
        assert consumer.metrics.value("animusic_consumer_gaps") == 0
    asking.close()
    _healthy("truncated tables", began)


def _empty(connection: ChdbConnection) -> None:
    for table in shared.TABLES:
        connection.command(f"TRUNCATE TABLE animusic.{table}")


def _healthy(what: str, began: float) -> None:
    seconds = time.monotonic() - began
    print(f"{what}: healthy again after {seconds:.1f} s", flush=True)
    assert seconds < HEALTHY_SECONDS
