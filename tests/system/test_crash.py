"""20,000 events while every process is killed twice: what was acknowledged is in every store, once, and nothing else.

Clients post batches and try again, with the same ids, until they get their 202; one post in twenty goes out twice. In
each of fourteen rounds one process gets kill -9 in the middle of the traffic: the four services, Valkey, Kafka's JVM,
and the supervisor, which takes everything with it and is started again. In the end the clients' ledger of acknowledged
ids, the topic, the warehouse and the fold agree, and Redis holds the fold's bytes.
"""

import asyncio
import json
import random
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.fold import Folded, fold
from contracts.registers import SERVED, SERVED_SLICES
from contracts.topics import FEEDBACK
from services.common.kafka import read_to_end
from tests.support.following import at_end, dead_letters, folded, profiles_in
from tests.support.system import PARTS, Listener, System, event
from tests.support.waiting import poll
from tests.system.conftest import Another

pytestmark = pytest.mark.system

EVENTS = 20_000
BATCH = 50
CLIENTS = 5
DUPLICATES = 0.05
ROUNDS = [*PARTS, "supervisor"] * 2
POSTS = -(-EVENTS // (BATCH * CLIENTS * len(ROUNDS)))
TRANSIENT = {429, 500, 502, 503, 504}


class Client:
    """A listener that posts until it is acknowledged, and keeps a ledger of what was."""

    def __init__(self, url: str, seed: int) -> None:
        self.ledger: set[str] = set()
        self.posts = self.retries = 0
        self._listener = Listener(url, timeout=5.0)
        self._rng = random.Random(seed)
        self._slots = [slot for _ in range(8) for slot in self._listener.playlist()["slots"]]

    def post(self, count: int) -> None:
        """Post `count` batches, each to its 202."""
        for _ in range(count):
            batch = [self._event() for _ in range(BATCH)]
            self._to_the_end(batch)
            if self._rng.random() < DUPLICATES:
                self._to_the_end(batch)
            self.posts += 1

    def _to_the_end(self, batch: list[dict[str, Any]]) -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            answer = self._try(batch)
            if answer is not None:
                assert answer["accepted"] == len(batch), answer
                self.ledger.update(one["event_id"] for one in batch)
                return
            self.retries += 1
            time.sleep(self._rng.uniform(0.05, 0.2))
        raise AssertionError("a post was not acknowledged within 90 s")

    def _try(self, batch: list[dict[str, Any]]) -> dict[str, Any] | None:
        try:
            answer = self._listener.http.post("/v1/events", json={"events": batch})
        except httpx.TransportError:
            return None
        if answer.status_code in TRANSIENT:
            return None
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def _event(self) -> dict[str, Any]:
        rng = self._rng
        slot = rng.choice(self._slots)
        kind = rng.choice(
            ("shown", "started", "progress", "ended", "skipped", "liked", "unliked", "vetoed", "unvetoed")
        )
        if kind in ("vetoed", "unvetoed"):
            return event(kind, anime_id=slot["anime_id"])
        fields: dict[str, Any] = {"song_id": slot["song_id"]}
        if rng.random() < 0.8:
            fields["slot_token"] = slot["slot_token"]
        if kind in ("progress", "ended"):
            fields |= {"watch_seconds": round(rng.uniform(0, 90), 3), "duration_seconds": 90.0}
            fields |= {
                "play_id": str(uuid.UUID(int=rng.getrandbits(128))),
                "played_seconds": round(rng.uniform(0, 90), 3),
            }
        if kind == "skipped":
            fields["direction"] = "next"
        return event(kind, **fields)


@pytest.fixture(scope="module")
def survived(another: Another) -> Iterator[tuple[System, list[Client]]]:
    """The system after all rounds, and the clients with their ledgers."""
    with another() as system:
        clients = [Client(system.url, seed) for seed in range(CLIENTS)]
        for name in ROUNDS:
            _round(system, clients, name)
        yield system, clients


def _round(system: System, clients: list[Client], name: str) -> None:
    """Every client posts its share; in the middle of it `name` is killed."""
    before, began = sum(client.posts for client in clients), time.monotonic()
    errors: list[Exception] = []
    threads = [threading.Thread(target=_post, args=(client, errors)) for client in clients]
    for thread in threads:
        thread.start()
    poll(lambda: errors or sum(c.posts for c in clients) > before + POSTS, what="the traffic flows", timeout=60)
    if name == "supervisor":
        system.kill()
        poll(lambda: not system.processes(), what="nothing is orphaned", timeout=15)
        system.start()
    else:
        pid = system.kill_part(name)
        poll(
            lambda: system.part(name)["pid"] not in (pid, None) and system.ready(name),
            timeout=90,
            what=f"{name} is back",
        )
    for thread in threads:
        thread.join(120)
    assert not errors, errors
    poll(system.ready, timeout=60, what="the gateway is green")
    print(f"{name}: {time.monotonic() - began:.1f} s")


def _post(client: Client, errors: list[Exception]) -> None:
    try:
        client.post(POSTS)
    except Exception as error:  # noqa: BLE001 - it fails the test in the main thread
        errors.append(error)


async def _topic(system: System) -> list[FeedbackEvent]:
    events: list[FeedbackEvent] = []
    async for batch in read_to_end(system.settings().kafka, FEEDBACK.name):
        events += [FeedbackEvent.model_validate_json(record.value) for record in batch]
    return events


def _ask(system: System, sql: str) -> list[dict[str, Any]]:
    answer = httpx.post(system.settings().clickhouse.dsn, content=f"{sql} FORMAT JSONEachRow", timeout=60)
    assert answer.is_success, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.fixture(scope="module")
def topic(survived) -> list[FeedbackEvent]:
    """Every record of the feedback topic, duplicates too."""
    return asyncio.run(_topic(survived[0]))


@pytest.mark.timeout(420)
def test_the_ledger_is_the_topic(survived, topic) -> None:
    ledger = set().union(*(client.ledger for client in survived[1]))
    assert len(ledger) >= EVENTS
    assert {str(event.event_id) for event in topic} == ledger
    assert len(topic) > len(ledger), "some posts were sent twice"
    assert sum(client.retries for client in survived[1]) > 0, "some posts were tried again"


def test_redis_is_the_fold_byte_for_byte(survived, topic) -> None:
    settings = survived[0].settings()

    async def stored() -> dict[str, dict[bytes, bytes]]:
        async with Redis.from_url(settings.redis.url) as redis:
            await at_end(settings.kafka, redis)
            return await profiles_in(redis)

    found, expected = asyncio.run(stored()), folded(topic)
    assert len(expected) == CLIENTS
    assert found == expected


def test_the_warehouse_is_the_ledger_once_each(survived) -> None:
    system, clients = survived
    ledger = set().union(*(client.ledger for client in clients))

    def there() -> bool:
        return int(_ask(system, "SELECT count() AS n FROM feedback_clean")[0]["n"]) >= len(ledger)

    poll(there, timeout=60, what="the warehouse has come to the end", interval=0.5)
    rows = _ask(system, "SELECT toString(event_id) AS id FROM feedback_clean")
    assert len(rows) == len(ledger)
    assert {row["id"] for row in rows} == ledger


def test_the_warehouses_registers_are_the_fold(survived, topic) -> None:
    system, _ = survived
    packed = ", ".join(f"{_hex(register)} AS {register.name}" for register in SERVED)
    merged = ", ".join(f"{register.direction}({register.name}) AS m_{register.name}" for register in SERVED)
    inner = f"SELECT user_id, song_id, {merged} FROM registers GROUP BY user_id, song_id"
    rows = _ask(system, f"SELECT user_id, song_id, {packed} FROM ({inner})")
    found = {(r["user_id"], r["song_id"]): {reg.name: r[reg.name] for reg in SERVED} for r in rows}
    # A song that was only shown has a row for its exposure, and nothing else.
    found = {key: value for key, value in found.items() if any(int(packed, 16) for packed in value.values())}
    assert found == _served(fold(topic))


def _hex(register: Any) -> str:
    """SQL that gives a merged register's bytes as contracts.registers packs them, in hex."""
    widths = {"B": 1, "H": 2, "I": 4, "Q": 8}
    fields = []
    for name, code in register.fields:
        value = f"hex(tupleElement(m_{register.name}, '{name}'))"
        fields.append(f"leftPad({value}, {2 * widths[code]}, '0')" if code in widths else value)
    return f"lower(concat({', '.join(fields)}))"


def _served(users: dict[str, Folded]) -> dict[tuple[str, str], dict[str, str]]:
    return {
        (user, song): {name: packed[at].hex() for name, at in SERVED_SLICES.items()}
        for user, registers in users.items()
        for song, packed in registers.songs.items()
        if any(packed)
    }


def test_nothing_went_to_the_dead_letters(survived) -> None:
    assert asyncio.run(dead_letters(survived[0].settings().kafka)) == []


def test_nothing_is_orphaned(survived) -> None:
    system, _ = survived
    assert system.stop() == 0
    assert system.processes() == []
