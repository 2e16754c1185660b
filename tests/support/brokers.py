"""Three Kafka brokers on one machine: each is also a controller, so that any one of them may die."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from services.common.settings import KafkaSettings
from services.local.processes.kafka import KafkaNode
from services.local.processes.kafka_probe import brokers_alive
from services.local.processes.ports import free_port
from tests.support.stores import jars
from tests.support.waiting import apoll, poll

BROKERS: Final = 3
_CLUSTER_ID: Final = "AniMusicThreeBrokers0A"
_HEAP_MB: Final = 128
_COPIES: Final[Mapping[str, str]] = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
    # Only so that a restarted broker's copies count again within a second.
    "replica.fetch.wait.max.ms": "100",
}


class Cluster:
    """Three nodes with fixed ports; `nodes[i]` can be killed and started again by itself."""

    def __init__(self, directory: Path) -> None:
        ports = _ports(2 * BROKERS)
        self.ports, controllers = ports[:BROKERS], ports[BROKERS:]
        voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(controllers, start=1))
        self.nodes = [
            _node(directory / f"broker-{number}", number, ports, voters)
            for number, ports in enumerate(zip(self.ports, controllers, strict=True), start=1)
        ]

    @property
    def settings(self) -> KafkaSettings:
        """How the product is told of it: three copies of each record, two before it is acknowledged."""
        servers = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return KafkaSettings(bootstrap_servers=servers, replication=3, min_insync=2)

    def start(self) -> None:
        """Start all three; return when each knows all three."""
        for node in self.nodes:
            node.start()
        poll(self.whole, timeout=60, interval=0.1, what="three brokers know of each other")

    def whole(self) -> bool:
        """Whether every broker counts three."""
        return all(brokers_alive(port) == BROKERS for port in self.ports)

    def close(self) -> None:
        """kill -9 of all three."""
        for node in self.nodes:
            node.kill()

    async def in_sync(self, topic: str, *, timeout: float = 60.0) -> float:
        """Wait until every partition of a topic has three copies that are in sync; the seconds it took."""
        began = time.monotonic()

        async def there() -> bool:
            return all(len(partition["isr"]) == BROKERS for partition in await self._partitions(topic))

        await apoll(there, timeout=timeout, interval=0.1, what=f"three copies of {topic} are in sync")
        return time.monotonic() - began

    async def _partitions(self, topic: str) -> list[dict[str, Any]]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.bootstrap_servers, request_timeout_ms=2_000)
        try:
            await admin.start()
            (described,) = await admin.describe_topics([topic])
            return list(described["partitions"]) or [{"isr": []}]
        except (KafkaError, OSError, TimeoutError):
            return [{"isr": []}]
        finally:
            await admin.close()


def _node(directory: Path, number: int, ports: tuple[int, int], voters: str) -> KafkaNode:
    directory.mkdir(parents=True)
    (directory / "cluster-id").write_text(_CLUSTER_ID, encoding="utf-8")
    own = {"node.id": str(number), "controller.quorum.voters": voters}
    return KafkaNode(
        directory, jars(), port=ports[0], controller_port=ports[1], heap_mb=_HEAP_MB, settings={**_COPIES, **own}
    )


def _ports(count: int) -> list[int]:
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return sorted(found)


@contextmanager
def three_brokers(directory: Path) -> Iterator[Cluster]:
    """A cluster that is whole; killed at the end."""
    cluster = Cluster(directory)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
