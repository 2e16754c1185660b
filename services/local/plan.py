"""What runs where: which parts are ours to start, on which ports, and the addresses that the other processes get.

A store whose address the environment gives (ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS, ANIMUSIC_REDIS__URL) is not started.
With ANIMUSIC_CLICKHOUSE__EXTERNAL the warehouse process writes to a server and has no engine of its own.
"""

import socket
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from services.common.settings import Settings
from services.local.layout import Layout
from services.local.locking import public_port
from services.local.parts import Part, child_environment, managed_part, model_worker_part, service_part
from services.local.processes.kafka import KafkaNode
from services.local.processes.kafka_jars import KafkaJars
from services.local.processes.ports import settled_port
from services.local.processes.valkey import ValkeyNode


@dataclass(frozen=True)
class Plan:
    """One start's decisions. Ports are on 127.0.0.1 but the public one, which is on `settings.host`."""

    settings: Settings
    layout: Layout
    public_port: int
    profiles_ports: tuple[int, ...]
    warehouse_port: int
    watch_port: int
    probe_port: int
    recommender_ports: tuple[int, ...]

    @classmethod
    def of(cls, settings: Settings, layout: Layout) -> "Plan":
        """Choose the ports; `settings` must not hold an earlier run's endpoints. Raises PortTaken, PortTaken."""
        port = _given(settings.recommender, "port")
        first = settled_port(port, layout.port("recommender-0"), "ANIMUSIC_RECOMMENDER__PORT")
        more = [settled_port(0, layout.port(f"recommender-{n}")) for n in range(1, settings.recommender.processes)]
        return cls(
            settings=settings,
            layout=layout,
            public_port=public_port(settings, layout),
            profiles_ports=_profiles_ports(settings, layout),
            warehouse_port=settled_port(
                _given(settings.warehouse, "port"), layout.port("warehouse"), "ANIMUSIC_WAREHOUSE__PORT"
            ),
            watch_port=settled_port(
                _given(settings.models, "watch_port"), layout.port("watch"), "ANIMUSIC_MODELS__WATCH_PORT"
            ),
            probe_port=settled_port(_given(settings.probe, "port"), layout.port("probe"), "ANIMUSIC_PROBE__PORT"),
            recommender_ports=(first, *more),
        )

    @property
    def own_kafka(self) -> bool:
        """Whether Kafka is ours to start."""
        return "bootstrap_servers" not in self.settings.kafka.model_fields_set

    @property
    def own_valkey(self) -> bool:
        """Whether Valkey is ours to start."""
        return "url" not in self.settings.redis.model_fields_set

    @property
    def url(self) -> str:
        """The public address, as a browser on this machine would write it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.settings.host, self.settings.host)
        return f"http://{host}:{self.public_port}"

    def kafka(self, jars: KafkaJars) -> KafkaNode:
        """The log, on its ports of the last start."""
        return KafkaNode(
            self.layout.root / "kafka",
            jars,
            heap_mb=self.settings.local.kafka_heap_mb,
            log_path=self.layout.log("kafka"),
        )

    def valkey(self) -> ValkeyNode:
        """The store of profiles."""
        return ValkeyNode(self.layout.root / "valkey", log_path=self.layout.log("valkey"))

    def endpoints(self, kafka: KafkaNode | None, valkey: ValkeyNode | None) -> dict[str, Any]:
        """Every address that this start chose, in the shape of the settings tree."""
        chosen: dict[str, Any] = {
            "port": self.public_port,
            "warehouse": {"port": self.warehouse_port},
            "profiles": {"metrics_port": self.profiles_ports[0]},
            "recommender": {"port": self.recommender_ports[0]},
            "gateway": {"recommender_urls": [_local(port) for port in self.recommender_ports]},
        }
        if kafka is not None:
            chosen["kafka"] = {"bootstrap_servers": kafka.bootstrap_servers}
        if valkey is not None:
            chosen["redis"] = {"url": valkey.url}
        if not self.settings.clickhouse.external:
            chosen["clickhouse"] = {"dsn": f"{_local(self.warehouse_port)}/animusic"}
        return chosen

    def services(self) -> list[Part]:
        """Our own services, the gateway last."""
        variables = {"ANIMUSIC_PORT": str(self.public_port)}
        parts = [*self._profiles(), self._service("warehouse", "warehouse", _local(self.warehouse_port), {})]
        for number, port in enumerate(self.recommender_ports, start=1):
            name = "recommender" if len(self.recommender_ports) == 1 else f"recommender-{number}"
            parts.append(self._service(name, "recommender", _local(port), {"ANIMUSIC_RECOMMENDER__PORT": str(port)}))
        return [*parts, self._service("gateway", "gateway", self.url, variables)]

    def _profiles(self) -> list[Part]:
        """The consumers of one group; several need a name each, which must be the same after every start."""
        if len(self.profiles_ports) == 1:
            return [self._service("profiles", "profiles", _local(self.profiles_ports[0]), {})]
        host = self.settings.kafka.instance or socket.gethostname()
        return [
            self._service(
                f"profiles-{number}",
                "profiles",
                _local(port),
                {"ANIMUSIC_PROFILES__METRICS_PORT": str(port), "ANIMUSIC_KAFKA__INSTANCE": f"{host}-{number}"},
            )
            for number, port in enumerate(self.profiles_ports, start=1)
        ]

    def background(self) -> list[Part]:
        """The model rebuild worker and the probe, which start last; settings turn each off."""
        parts = []
        if self.settings.models.watch:
            port = {"ANIMUSIC_MODELS__WATCH_PORT": str(self.watch_port)}
            parts.append(model_worker_part("watch", _local(self.watch_port), child_environment(self.layout, **port)))
        if self.settings.probe.enabled:
            asks = self.settings.probe.gateway_url or self.url
            variables = {"ANIMUSIC_PROBE__PORT": str(self.probe_port), "ANIMUSIC_PROBE__GATEWAY_URL": asks}
            parts.append(self._service("probe", "probe", _local(self.probe_port), variables))
        return parts

    def _service(self, name: str, service: str, url: str, variables: dict[str, str]) -> Part:
        return service_part(name, service, url, child_environment(self.layout, **variables))


def managed_parts(kafka: KafkaNode | None, valkey: ValkeyNode | None) -> list[Part]:
    """Kafka and Valkey as parts, where they are ours. Kafka must have been prepared: its port is its address."""
    parts = []
    if kafka is not None:
        parts.append(managed_part("kafka", kafka, kafka.bootstrap_servers))
    if valkey is not None:
        parts.append(managed_part("valkey", valkey, valkey.url))
    return parts


def _profiles_ports(settings: Settings, layout: Layout) -> tuple[int, ...]:
    asked = _given(settings.profiles, "metrics_port")
    first = settled_port(asked, layout.port("profiles"), "ANIMUSIC_PROFILES__METRICS_PORT")
    return (first, *(settled_port(0, layout.port(f"profiles-{n}")) for n in range(1, settings.profiles.processes)))


def _given(group: BaseModel, name: str) -> int:
    """A port that the environment gives, else 0: any free one."""
    return int(getattr(group, name)) if name in group.model_fields_set else 0


def _local(port: int) -> str:
    return f"http://127.0.0.1:{port}"
