"""Readiness, metrics, and waiting out an outage."""

import asyncio
import os
from types import SimpleNamespace

import httpx
import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry, Counter

from contracts.marks import MarkName
from services.common.clock import now_ms
from services.common.consuming.lag import LagMeter
from services.common.consuming.metrics import ConsumerMetrics
from services.common.consuming.model import Claim, Taken
from services.common.consuming.patience import OutageTooLong, Patience, Stopping
from services.common.consuming.positions import Position
from services.common.health import HealthServer
from services.common.listening import CannotListen
from services.common.process_identity import ProcessIdentity

ME = ProcessIdentity("profiles", "a" * 32, os.getpid())


async def test_readiness_says_why_not_and_metrics_are_shown():
    reasons = ["no partition is assigned yet", None]
    registry = CollectorRegistry()
    Counter("things", "counted", registry=registry).inc()
    server = HealthServer(ME, lambda: reasons.pop(0), registry)
    port = await server.start(0, "ANIMUSIC_X__PORT")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        not_yet = await client.get("/readyz")
        assert (not_yet.status_code, not_yet.json()["reason"]) == (503, "no partition is assigned yet")
        assert (await client.get("/readyz?verbose")).status_code == 200
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert "things_total 1.0" in (await client.get("/metrics")).text
        assert (await client.get("/")).status_code == 404
    await server.close()


async def test_a_taken_port_is_named():
    first = HealthServer(ME, lambda: None, CollectorRegistry())
    port = await first.start(0, "ANIMUSIC_X__PORT")
    with pytest.raises(CannotListen, match=rf"Port {port} .*process {os.getpid()}.*ANIMUSIC_X__PORT={port + 1}"):
        await HealthServer(ME, lambda: None, CollectorRegistry()).start(port, "ANIMUSIC_X__PORT")
    await first.close()


async def test_nonsense_is_400_and_no_harm():
    server = HealthServer(ME, lambda: None, CollectorRegistry())
    port = await server.start(0, "ANIMUSIC_X__PORT")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"nonsense\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = await client.get("/elsewhere")
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    await server.close()


def patience(seconds: float) -> tuple[Patience, asyncio.Event]:
    """A patience of so many seconds, and what stops it."""
    stopping = asyncio.Event()
    return Patience("test", seconds, stopping, ConsumerMetrics(CollectorRegistry(), "test")), stopping


async def test_a_call_is_tried_until_it_passes():
    left = [ConnectionError("away"), TimeoutError("away")]

    async def call() -> str:
        if left:
            raise left.pop()
        return "here"

    waiting, _ = patience(10)
    assert await waiting.until_it_passes("the store", call, (ConnectionError, TimeoutError)) == "here"


async def test_patience_ends_and_unknown_errors_are_not_waited_out():
    async def away() -> None:
        raise ConnectionError("away")

    waiting, stopping = patience(0.1)
    with pytest.raises(OutageTooLong, match="animusic status"):
        await waiting.until_it_passes("the store", away, (ConnectionError,))
    with pytest.raises(ConnectionError):
        await waiting.until_it_passes("the store", away, (TimeoutError,))
    waiting, stopping = patience(60)
    asyncio.get_running_loop().call_later(0.05, stopping.set)
    with pytest.raises(Stopping):
        await waiting.until_it_passes("the store", away, (ConnectionError,))


async def test_readiness_tells_how_far_it_is():
    server = HealthServer(ME, lambda: "waiting", CollectorRegistry(), lambda: {"lag": 7, "oldest_seconds": 1.5})
    port = await server.start(0, "ANIMUSIC_X__PORT")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        said = (await client.get("/readyz")).json()
    assert said == {"status": "not ready", "reason": "waiting", "lag": 7, "oldest_seconds": 1.5, **ME.said()}
    await server.close()


async def test_patience_names_what_it_waits_for():
    seen: list[str | None] = []
    waiting, _ = patience(10)

    async def call() -> str:
        seen.append(waiting.waiting_for)
        if len(seen) < 3:
            raise ConnectionError("away")
        return "here"

    await waiting.until_it_passes("the store", call, (ConnectionError,))
    assert seen == [None, "the store", "the store"]
    assert waiting.waiting_for is None


def test_lag_is_told_by_partition_whenever_somebody_asks():
    tp = TopicPartition("t", 3)
    record = SimpleNamespace(timestamp=now_ms() - 4_000)
    position = Position(Claim(MarkName("a" * 32, 3), "t", 4), 0, 10)
    consumer = SimpleNamespace(assignment=lambda: {tp}, highwater=lambda _: 10)
    registry = CollectorRegistry()
    meter = LagMeter(registry, "test", lambda: consumer, lambda: {tp: position})
    assert meter.summary() == {"partitions": 1, "lag": 0, "oldest_seconds": 0.0}
    position.take([Taken(record, "x")], 11)
    consumer.highwater = lambda _: 14
    assert meter.summary()["lag"] == 4
    assert 4.0 <= meter.summary()["oldest_seconds"] < 30
    place = {"step": "test", "topic": "t", "partition": "3"}
    assert registry.get_sample_value("animusic_consumer_lag", place) == 4.0
    flushing = position.cut()
    assert meter.summary()["lag"] == 4
    assert 0.0 <= meter.summary()["oldest_seconds"] < 30
    position.after = flushing.upto
    assert meter.summary()["lag"] == 3


async def test_lag_grows_while_nothing_is_fetched():
    tp = TopicPartition("t", 3)
    position = Position(Claim(MarkName("a" * 32, 3), "t", 4), 0, 10)

    async def end_offsets(_: object) -> dict[TopicPartition, int]:
        return {tp: 25}

    consumer = SimpleNamespace(assignment=set, highwater=lambda _: 1 / 0, end_offsets=end_offsets)
    meter = LagMeter(CollectorRegistry(), "test", lambda: consumer, lambda: {tp: position})
    assert meter.summary()["lag"] == 0
    await meter.measure()
    assert meter.summary()["lag"] == 15
