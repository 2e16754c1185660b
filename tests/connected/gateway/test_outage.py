"""The log goes down: acknowledged events stay, other posts fail with 503, and the gateway recovers by itself."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import orjson
import pytest
import pytest_asyncio

from contracts.events import FeedbackEvent
from contracts.http import Problem
from contracts.topics import FEEDBACK
from services.common.kafka import ensure_topics
from services.common.settings import KafkaSettings
from services.local.processes.kafka import KafkaNode
from tests.connected.gateway.conftest import Running, at, liked, records_of, running, settings_of
from tests.support.stores import kafka_node
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected

EVENTS = 10_000
CLIENTS = 16


@dataclass
class Ledger:
    """The answers to the clients: id -> (partition, offset) of its last 202, and the number of retries."""

    acknowledged: dict[str, tuple[int, int]] = field(default_factory=dict)
    retries: int = 0

    def note(self, ids: list[str], answer: httpx.Response) -> None:
        place = answer.json()["log"]
        assert place["last_offset"] - place["first_offset"] + 1 == len(ids)
        for offset, event_id in enumerate(ids, place["first_offset"]):
            self.acknowledged[event_id] = (place["partition"], offset)


@pytest_asyncio.fixture
async def node(tmp_path: Path) -> AsyncIterator[tuple[KafkaNode, KafkaSettings]]:
    """A Kafka of this test's own, to be killed."""
    with kafka_node(tmp_path / "kafka") as kafka:
        settings = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, request_timeout_ms=2_000)
        await ensure_topics(settings)
        yield kafka, settings


async def a_client(gateway: Running, ledger: Ledger, seed: int) -> None:
    """Post its share in posts of 1 to 40, each until it is acknowledged, one in twenty once more."""
    rng = random.Random(seed)
    _, bearer = await gateway.guest()
    left = EVENTS // CLIENTS
    while left:
        post = [liked(f"song-{rng.randint(1, 99)}") for _ in range(min(left, rng.randint(1, 40)))]
        left -= len(post)
        await until_acknowledged(gateway, bearer, post, ledger)
        if rng.random() < 0.05:
            await until_acknowledged(gateway, bearer, post, ledger)


async def until_acknowledged(
    gateway: Running, bearer: dict[str, str], post: list[dict[str, object]], ledger: Ledger
) -> None:
    ids = [str(event["event_id"]) for event in post]

    async def acknowledged() -> bool:
        answer = await gateway.post(bearer, *post)
        if answer.status_code == 202:
            ledger.note(ids, answer)
            return True
        assert answer.status_code == 503, answer.text
        assert Problem.model_validate_json(answer.content).error == "log_unavailable"
        assert int(answer.headers["retry-after"]) >= 1
        ledger.retries += 1
        return False

    await apoll(acknowledged, timeout=60, interval=0.2, what="an acknowledgement")


async def killer(kafka: KafkaNode, ledger: Ledger) -> None:
    """kill -9 after a quarter and after six tenths of the events; start it again at once."""
    for share in (0.25, 0.6):

        async def reached(share: float = share) -> bool:
            return len(ledger.acknowledged) >= share * EVENTS

        await apoll(reached, timeout=60, what=f"{share:.0%} acknowledged")
        await asyncio.to_thread(kafka.kill)
        kafka.start()
        await asyncio.to_thread(kafka.wait_ready)


async def test_every_acknowledged_event_is_in_the_log_through_two_kills(
    node: tuple[KafkaNode, KafkaSettings], tmp_path: Path
) -> None:
    kafka, log = node
    ledger = Ledger()
    async with running(settings_of(log, tmp_path)) as gateway:
        clients = (a_client(gateway, ledger, seed) for seed in range(CLIENTS))
        await asyncio.gather(killer(kafka, ledger), *clients)
        assert await gateway.log_is_ready()
    assert len(ledger.acknowledged) == EVENTS
    assert ledger.retries > 0
    records = await records_of(log, FEEDBACK.name)
    places = {(record.partition, record.offset): orjson.loads(record.value)["event_id"] for record in records}
    wrong = {event_id for event_id, place in ledger.acknowledged.items() if places.get(place) != event_id}
    assert wrong == set()
    for record in records:
        FeedbackEvent.model_validate_json(record.value)


async def test_without_a_broker_it_is_not_ready_and_with_one_it_recovers(
    node: tuple[KafkaNode, KafkaSettings], tmp_path: Path
) -> None:
    kafka, log = node
    await asyncio.to_thread(kafka.kill)
    async with running(settings_of(log, tmp_path)) as gateway:
        _, bearer = await gateway.guest()
        lost = liked()
        answer = await gateway.post(bearer, lost)
        assert (answer.status_code, answer.json()["error"]) == (503, "log_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert "event ids" in answer.json()["message"]
        assert not await gateway.log_is_ready()
        assert (await gateway.client.get("/healthz")).status_code == 200
        kafka.start()
        await asyncio.to_thread(kafka.wait_ready)
        await apoll(gateway.log_is_ready, timeout=20, what="the gateway is ready again")
        kept = await gateway.post(bearer, lost)
        assert kept.status_code == 202
        place = kept.json()["log"]
        records = await records_of(log, FEEDBACK.name)
        (record,) = at(records, place["partition"], place["first_offset"], place["last_offset"])
        assert orjson.loads(record.value)["event_id"] == lost["event_id"]
        await asyncio.to_thread(kafka.kill)

        async def red() -> bool:
            return not await gateway.log_is_ready()

        await apoll(red, timeout=20, what="readiness turns red without any post")
