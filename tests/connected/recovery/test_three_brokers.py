"""Three brokers: each killed in turn, then two at once, under traffic; three consumers, one of them a zombie meanwhile.

300 events a second go through a real gateway. What it acknowledged is in the topic where it said, and nothing else
happened by hand: brokers are only killed and started.
"""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil
import pytest
from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.topics import FEEDBACK
from services.common.kafka import ensure_topics
from tests.connected.gateway.conftest import Running, records_of, running, settings_of
from tests.connected.recovery.posting import Posting, posting
from tests.support.brokers import Cluster, three_brokers
from tests.support.following import at_end, folded, profiles_in
from tests.support.members import Member, members
from tests.support.stores import valkey_node
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected

RATE = 300
# After so long without a heartbeat a member's partitions become others'; the shortest that Kafka takes.
SESSION_SECONDS = 6.0
DARK_SECONDS = 5.0
# Between a broker's acknowledgement and the client's 202, on a busy machine.
ON_ITS_WAY_SECONDS = 2.0
HEALTHY_SECONDS = 60.0


@dataclass
class Story:
    """What happened, and how long each recovery took."""

    cluster: Cluster
    gateway: Running
    traffic: Posting
    group: list[Member]
    seconds: dict[str, float] = field(default_factory=dict)

    async def one_broker_dies(self, number: int) -> None:
        """Kill one broker: two copies are enough to go on. Then start it, until its copies are in sync again."""
        node, began = self.cluster.nodes[number], time.monotonic()
        await asyncio.to_thread(node.kill)
        self.note(f"broker {number + 1} killed", await self.traffic.ledger.flows_again(began))
        node.start()
        await asyncio.to_thread(node.wait_ready)
        await self.cluster.in_sync(FEEDBACK.name)

    async def two_brokers_die(self) -> None:
        """Kill two at once: nothing is acknowledged. Then start them."""
        ledger = self.traffic.ledger
        await asyncio.gather(*(asyncio.to_thread(node.kill) for node in self.cluster.nodes[:2]))
        dead = time.monotonic()
        refused = ledger.refused

        async def dark() -> bool:
            return ledger.refused > refused and time.monotonic() - dead > DARK_SECONDS

        await apoll(dark, timeout=30, what="posts are refused")
        last = max(ledger.at.values()) - dead
        assert last < ON_ITS_WAY_SECONDS, f"something was acknowledged {last:.1f} s after the quorum was gone"
        assert not await self.gateway.log_is_ready()
        began = time.monotonic()
        for node in self.cluster.nodes[:2]:
            node.start()
        self.note("two killed, started again", await ledger.flows_again(began))
        await apoll(self.gateway.log_is_ready, timeout=20, what="readiness is green")

    async def a_member_becomes_a_zombie(self) -> None:
        """Freeze one for longer than its session; the others take its partitions; wake it."""
        frozen, others = self.group[0], self.group[1:]
        had = sum(member.partitions() for member in others)
        since = frozen.freeze()

        async def taken() -> bool:
            return sum(member.partitions() for member in others) > had and time.monotonic() - since > SESSION_SECONDS

        await apoll(taken, timeout=60, interval=0.2, what="the others took the frozen one's partitions")
        self.note("frozen, its partitions are others'", time.monotonic() - since)
        frozen.wake()

    def note(self, what: str, seconds: float) -> None:
        """Keep a time to healthy, and print it."""
        self.seconds[what] = seconds
        print(f"{what}: {seconds:.1f} s", flush=True)


@pytest.mark.timeout(240)
async def test_brokers_die_and_a_zombie_wakes_and_nothing_is_lost(tmp_path: Path) -> None:
    with three_brokers(tmp_path / "kafka") as cluster, valkey_node(tmp_path / "valkey") as valkey:
        log = cluster.settings.model_copy(update={"request_timeout_ms": 3_000, "session_seconds": SESSION_SECONDS})
        await ensure_topics(log)
        with members(log, valkey.url, tmp_path, 3) as group:
            async with running(settings_of(log, tmp_path)) as gateway:
                story = await _told(cluster, gateway, group)
            events = await _as_acknowledged(story)
            async with Redis.from_url(valkey.url) as redis:
                await at_end(log, redis)
                assert await profiles_in(redis) == folded(events)
            assert all(member.running for member in group)
            _print_memory(cluster, group)
    assert all(seconds < HEALTHY_SECONDS for seconds in story.seconds.values())


async def _told(cluster: Cluster, gateway: Running, group: list[Member]) -> Story:
    async with posting(gateway, rate=RATE) as traffic:
        story = Story(cluster, gateway, traffic, group)
        await apoll(lambda: _posted(traffic, RATE), what="the traffic flows")
        for number in range(len(cluster.nodes) - 1):
            await story.one_broker_dies(number)
        # The group loses a member while a broker dies, which may be the one that looks after the group.
        await asyncio.gather(story.one_broker_dies(len(cluster.nodes) - 1), story.a_member_becomes_a_zombie())
        await story.two_brokers_die()
    return story


async def _posted(traffic: Posting, count: int) -> bool:
    return len(traffic.ledger.acknowledged) >= count


async def _as_acknowledged(story: Story) -> list[FeedbackEvent]:
    """Every event of the topic, each acknowledged one among them where the gateway said."""
    records = await records_of(story.cluster.settings, FEEDBACK.name)
    places = {(record.partition, record.offset): orjson.loads(record.value)["event_id"] for record in records}
    ledger = story.traffic.ledger
    assert {event_id for event_id, place in ledger.acknowledged.items() if places.get(place) != event_id} == set()
    assert set(places.values()) == set(ledger.acknowledged), "in the end every post was acknowledged"
    print(f"{story.traffic.summary()}; {len(records)} records in the topic")
    return [FeedbackEvent.model_validate_json(record.value) for record in records]


def _print_memory(cluster: Cluster, group: list[Member]) -> None:
    pids = [node.pid for node in cluster.nodes] + [member.pid for member in group]
    sizes = [psutil.Process(pid).memory_info().rss / 1e6 for pid in pids if pid is not None]
    print(f"memory: {sum(sizes):.0f} MB in {len(sizes)} processes")
