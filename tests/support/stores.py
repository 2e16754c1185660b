"""Real stores for tests, started on a directory of the test's own and stopped with it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.local.processes.kafka import KafkaNode
from services.local.processes.kafka_jars import KafkaJars, default_cache_dir, kafka_jars
from services.local.processes.valkey import ValkeyNode


def jars() -> KafkaJars:
    """Kafka's jars from the user's cache; the first call ever fetches them."""
    return kafka_jars(default_cache_dir())


@contextmanager
def kafka_node(data_dir: Path, settings: Mapping[str, str] | None = None) -> Iterator[KafkaNode]:
    """A Kafka that is ready for clients, with `settings` over the node's own; killed at the end."""
    node = KafkaNode(data_dir, jars(), settings=settings)
    node.start()
    try:
        node.wait_ready()
        yield node
    finally:
        node.kill()


@contextmanager
def valkey_node(data_dir: Path) -> Iterator[ValkeyNode]:
    """A Valkey that is ready for clients; killed at the end."""
    node = ValkeyNode(data_dir)
    node.start()
    try:
        node.wait_ready()
        yield node
    finally:
        node.kill()
