"""Every subscriber of every consumer states what FastStream would otherwise decide wrongly."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from faststream.kafka import KafkaBroker
from faststream.middlewares import AckPolicy
from redis.asyncio import Redis

from services.common.settings import KafkaSettings, RedisSettings, Settings, WarehouseSettings
from services.local.processes.valkey import ValkeyNode
from services.warehouse.app import Warehouse
from tests.connected.warehouse import engine as chdb
from tests.support.following import following
from tests.support.waiting import apoll

REPO = Path(__file__).resolve().parents[3]


def faults(broker: KafkaBroker, longest_wait_ms: int = 50) -> list[str]:
    """What is wrong with a broker's subscribers, one sentence a fault."""
    found = [] if broker.subscribers else ["there is no subscriber"]
    if broker.config.broker_config.allow_auto_create_topics:
        found.append("it may create topics, with one partition")
    for subscriber in broker.subscribers:
        found += [f"{subscriber.topic_names}: {fault}" for fault in _faults(subscriber, longest_wait_ms)]
    return found


def _faults(subscriber: Any, longest_wait_ms: int) -> list[str]:
    args = subscriber._connection_args
    stated = {
        "no group id": subscriber.group_id,
        f"acknowledges by {subscriber.ack_policy}": subscriber.ack_policy is AckPolicy.MANUAL,
        "commits by itself": not args["enable_auto_commit"],
        "skips the history of a new group": args["auto_offset_reset"] == "earliest",
        "no static membership": args["group_instance_id"],
        "no rebalance listener, so it cannot start at the store's mark": subscriber._listener,
        "no limit on a batch": getattr(subscriber, "max_records", None),
        "waits long for a batch": getattr(subscriber, "batch_timeout_ms", 1_000) <= longest_wait_ms,
    }
    return [fault for fault, holds in stated.items() if not holds]


@pytest.mark.connected
async def test_profiles_states_everything(log: KafkaSettings, redis: Redis, valkey: ValkeyNode, tmp_path: Path):
    settings = Settings(data_dir=tmp_path, kafka=log, redis=RedisSettings(url=valkey.url))
    async with following(settings, redis) as consumer:
        assert consumer.subscription is not None
        assert faults(consumer.subscription.broker) == []


@pytest.mark.connected
async def test_warehouse_states_everything(log: KafkaSettings):
    chdb.engine()
    warehouse = Warehouse(Settings(data_dir=chdb.data_dir(), kafka=log, warehouse=WarehouseSettings(port=0)))
    running = asyncio.create_task(warehouse.run())

    async def ready() -> bool:
        return warehouse._consumer is not None and warehouse._consumer.not_ready() is None

    try:
        await apoll(ready, timeout=60, what="the warehouse follows the log")
        assert warehouse._consumer is not None
        assert warehouse._consumer.subscription is not None
        # It holds records for two seconds anyway.
        assert faults(warehouse._consumer.subscription.broker, longest_wait_ms=500) == []
    finally:
        warehouse.stop()
        await running
        await warehouse.close()


def test_the_walk_finds_what_is_wrong():
    broker = KafkaBroker("127.0.0.1:1")
    broker.subscriber("a", batch=True, group_id="g", ack_policy=AckPolicy.ACK)
    broker.subscriber("b")
    said = "\n".join(faults(broker))
    for fault in ("it may create topics", "no group id", "acknowledges by AckPolicy.ACK_FIRST", "commits by itself"):
        assert fault in said
    assert "['a']: acknowledges by AckPolicy.ACK\n" in said
    assert "['a']: no group id" not in said
    assert faults(KafkaBroker("127.0.0.1:1", allow_auto_create_topics=False)) == ["there is no subscriber"]


def test_only_one_file_makes_brokers():
    importing = [
        path.relative_to(REPO).as_posix()
        for folder in ("services", "collectors", "model_jobs")
        for path in (REPO / folder).rglob("*.py")
        if "faststream" in path.read_text(encoding="utf-8").replace("FastStream", "")
    ]
    with contextlib.suppress(ValueError):
        importing.remove("services/common/kafka/consuming/subscription.py")
    assert importing == []
