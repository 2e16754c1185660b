"""The log for a command that needs nothing else: the one that runs, or this machine's own for the while of a block."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.common.process_identity import is_alive
from services.common.settings import KafkaSettings, Settings
from services.local.claim import claimed
from services.local.layout import Layout, read_json
from services.local.processes.children import reap_stale
from services.local.processes.kafka import KafkaNode
from services.local.processes.kafka_jars import default_cache_dir, kafka_jars


@contextmanager
def running_log(settings: Settings) -> Iterator[KafkaSettings]:
    """The log that the settings name or that runs on the data directory; else its Kafka alone, started and stopped.

    Raises AlreadyRunning while a system is on its way up or down, LocalError when Kafka cannot be started.
    """
    layout = Layout(settings.data_dir.absolute())
    if "bootstrap_servers" in settings.kafka.model_fields_set and not _left_by_a_killed_system(layout):
        yield settings.kafka
        return
    layout = Layout.of(settings.data_dir)
    with claimed(layout):
        reap_stale(layout.pids)
        node = KafkaNode(
            layout.root / "kafka",
            kafka_jars(default_cache_dir(), jars_dir=settings.local.kafka_jars_dir),
            heap_mb=settings.local.kafka_heap_mb,
            log_path=layout.log("kafka"),
        )
        node.start(layout.pidfile("kafka"))
        try:
            node.wait_ready()
            yield settings.kafka.model_copy(update={"bootstrap_servers": node.bootstrap_servers})
        finally:
            node.stop()


def _left_by_a_killed_system(layout: Layout) -> bool:
    status = read_json(layout.status)
    return "pid" in status and not is_alive(status["pid"], status.get("started"))
