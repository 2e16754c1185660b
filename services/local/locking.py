"""The lock of a data directory, the public port, and Kafka for commands that need nothing else."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from services.common.http.listening import sentence
from services.common.process.identity import is_alive
from services.common.settings import KafkaSettings, Settings
from services.local.errors import AlreadyRunning, PortTaken
from services.local.layout import Layout, read_json
from services.local.processes.children import reap_stale
from services.local.processes.kafka import KafkaNode
from services.local.processes.kafka_jars import default_cache_dir, kafka_jars
from services.local.processes.ports import settled_port


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Hold the data directory. Raises AlreadyRunning, which says where. The kernel lets go when the process ends."""
    lock = FileLock(layout.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise AlreadyRunning(_where(layout)) from None
    try:
        yield
    finally:
        lock.release()


def _where(layout: Layout) -> str:
    status = read_json(layout.status)
    where = f" at {status['url']} (process {status['pid']})" if "url" in status else ""
    return (
        f"AniMusic is already running on {layout.root}{where}. Stop it with Ctrl-C where it was started, or run "
        "another one beside it: set ANIMUSIC_DATA_DIR to another directory and ANIMUSIC_PORT to another port."
    )


def public_port(settings: Settings, layout: Layout) -> int:
    """The one public port; 0 in the settings chooses a free one and keeps it. Raises PortTaken."""
    if settings.port == 0:
        return settled_port(0, layout.port("gateway"), "ANIMUSIC_PORT")
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
            # Two sockets with SO_REUSEADDR may be bound to a port, but only one may listen.
            probe.listen(1)
        except OSError as error:
            reason = sentence(error, settings.host, settings.port, "ANIMUSIC_PORT")
            raise PortTaken(reason) from None
    return settings.port


@contextmanager
def reachable_kafka(settings: Settings) -> Iterator[KafkaSettings]:
    """Kafka for a command that needs nothing else.

    The one that the settings name or that runs on the data directory; else its Kafka alone, started and stopped.

    Raises AlreadyRunning while a system is on its way up or down, LocalError when Kafka cannot be started.
    """
    layout = Layout(settings.data_dir.absolute())
    if "bootstrap_servers" in settings.kafka.model_fields_set and not _left_by_a_killed_system(layout):
        yield settings.kafka
        return
    layout = Layout.of(settings.data_dir)
    with locked(layout):
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
