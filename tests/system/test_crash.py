"""20,000 events while every process is killed twice: what was acknowledged is in every store, once, and nothing else.

Clients post batches and try again, with the same ids, until they get their 202; one post in twenty goes out twice. In
each of fourteen rounds one process gets kill -9 in the middle of the traffic: the four services, Valkey, Kafka's JVM,
and the supervisor, which takes everything with it and is started again. In the end the clients' ledger of acknowledged
ids, the topic, the warehouse and the fold agree, and Redis holds the fold's bytes.
"""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from contracts.events import FeedbackEvent
from contracts.fold import fold
from tests.support.agreement import (
    ask,
    dead_letters_in,
    feedback_in,
    folded_registers,
    ids_of,
    profiles_at_end,
    warehouse_registers,
)
from tests.support.following import folded
from tests.support.ledger import Ledger, Told
from tests.support.system import PARTS, System
from tests.support.traffic import Guest
from tests.support.waiting import poll
from tests.system.conftest import Another

pytestmark = pytest.mark.system

EVENTS = 20_000
BATCH = 50
CLIENTS = 5
PLAYLISTS = 8
ROUNDS = [*PARTS, "supervisor"] * 2
POSTS = -(-EVENTS // (BATCH * CLIENTS * len(ROUNDS)))


@pytest.fixture(scope="module")
def survived(another: Another) -> Iterator[tuple[System, list[Guest], set[str]]]:
    """The system after all rounds, the clients, and the ids that they were told are in."""
    with another() as system:
        ledgers = system.data_dir.parent / "ledgers"
        clients = [Guest(system.url, str(seed), Ledger(ledgers / f"{seed}.ledger")) for seed in range(CLIENTS)]
        for client in clients:
            assert all(client.listen() for _ in range(PLAYLISTS))
        for name in ROUNDS:
            _round(system, clients, name)
        yield system, clients, Told.by(ledgers).acknowledged


def _round(system: System, clients: list[Guest], name: str) -> None:
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


def _post(client: Guest, errors: list[Exception]) -> None:
    try:
        for _ in range(POSTS):
            client.post(client.batch(BATCH))
    except Exception as error:  # noqa: BLE001 - it fails the test in the main thread
        errors.append(error)


@pytest.fixture(scope="module")
def topic(survived) -> list[FeedbackEvent]:
    """Every record of the feedback topic, duplicates too."""
    return asyncio.run(feedback_in(survived[0].settings().kafka))[0]


@pytest.mark.timeout(420)
def test_the_ledger_is_the_topic(survived, topic) -> None:
    _, clients, ledger = survived
    assert len(ledger) >= EVENTS
    assert ids_of(topic) == ledger
    assert len(topic) > len(ledger), "some posts were sent twice"
    assert sum(client.retries for client in clients) > 0, "some posts were tried again"


def test_redis_is_the_fold_byte_for_byte(survived, topic) -> None:
    found, expected = asyncio.run(profiles_at_end(survived[0].settings())), folded(topic)
    assert len(expected) == CLIENTS
    assert found == expected


def test_the_warehouse_is_the_ledger_once_each(survived) -> None:
    system, _, ledger = survived
    settings = system.settings()

    def there() -> bool:
        return int(ask(settings, "SELECT count() AS n FROM feedback_clean")[0]["n"]) >= len(ledger)

    poll(there, timeout=60, what="the warehouse has come to the end", interval=0.5)
    rows = ask(settings, "SELECT toString(event_id) AS id FROM feedback_clean")
    assert len(rows) == len(ledger)
    assert {row["id"] for row in rows} == ledger


def test_the_warehouses_registers_are_the_fold(survived, topic) -> None:
    assert warehouse_registers(survived[0].settings()) == folded_registers(fold(topic))


def test_nothing_went_to_the_dead_letters(survived) -> None:
    assert not asyncio.run(dead_letters_in(survived[0].settings().kafka))


def test_nothing_is_orphaned(survived) -> None:
    system = survived[0]
    assert system.stop() == 0
    assert system.processes() == []
