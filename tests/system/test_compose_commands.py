"""Every command of docker-compose.yml, and every health check, run natively with the environment that Compose gives it.

What stands in for what: the containers' names become the addresses of a Kafka and a Valkey that the test starts,
/data a directory, each port a free one. What cannot run here, as there is no package of it: a ClickHouse server, so
the warehouse is booted on chDB with all else as it is (that the settings with `external` parse is checked apart); and a
Qdrant server, for which the client's in-memory mode answers behind the same gRPC surface.
"""

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.common.settings import Settings
from services.local.parts import animusic
from services.local.processes.kafka import KafkaNode
from services.local.processes.ports import free_port
from services.local.processes.valkey import ValkeyNode
from tests.support.qdrant_wire import QdrantWire, qdrant_wire
from tests.support.stores import kafka_node, valkey_node
from tests.support.system import ROOT
from tests.support.waiting import poll
from tests.unit.deploy.test_compose import JOBS, SECRETS, compose

pytestmark = pytest.mark.system

SERVICES = ("profiles", "warehouse", "recommender", "watch", "gateway", "probe")
PORTS = {
    "8080": "gateway", "8081": "recommender", "8082": "profiles", "8083": "watch", "8084": "probe", "8123": "warehouse",
}  # fmt: skip


class Native:
    """The services of the Compose file as processes of this machine."""

    def __init__(self, directory: Path, kafka: KafkaNode, valkey: ValkeyNode, qdrant: QdrantWire) -> None:
        done = compose("config", "--format", "json", **SECRETS)
        assert done.returncode == 0, done.stderr
        self.services: dict[str, Any] = json.loads(done.stdout)["services"]
        self.directory = directory
        self.kafka = kafka
        self.qdrant = qdrant
        self._ports = {port: str(free_port()) for port in PORTS}
        self._stand_ins = {
            "kafka:9092": kafka.bootstrap_servers,
            "redis://valkey:6379/0": valkey.url,
            "http://recommender:8081": f"http://127.0.0.1:{self._ports['8081']}",
            "http://gateway:8080": f"http://127.0.0.1:{self._ports['8080']}",
            "0.0.0.0": "127.0.0.1",
            "http://qdrant:6333": str(qdrant.settings.url),
            "/data": str(directory / "data"),
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def given(self, name: str) -> dict[str, str]:
        """The environment that Compose gives a service."""
        return {variable: str(value) for variable, value in self.services[name]["environment"].items()}

    def environment(self, name: str) -> dict[str, str]:
        """The same for this machine."""
        own = {variable: self._here(value) for variable, value in self.given(name).items()}
        own["ANIMUSIC_QDRANT__GRPC_PORT"] = str(self.qdrant.port)
        own["ANIMUSIC_CLICKHOUSE__EXTERNAL"] = "false"
        own["ANIMUSIC_CLICKHOUSE__DSN"] = f"http://127.0.0.1:{self._ports['8123']}/animusic"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ANIMUSIC_")}
        return {**clean, "PYTHONPATH": str(ROOT), **own}

    def _here(self, value: str) -> str:
        for there, here in self._stand_ins.items():
            value = value.replace(there, here)
        if value in ("gateway", "warehouse"):
            return "127.0.0.1"
        return self._ports.get(value, value)

    def command(self, name: str) -> list[str]:
        """The command of a service: the image's entrypoint is `animusic`."""
        return animusic(*self.services[name]["command"])

    def start(self, name: str) -> None:
        """Run a service in the background."""
        with (self.directory / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                self.command(name), env=self.environment(name), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def healthy(self, name: str) -> bool:
        """What the service's own health check finds."""
        assert self.processes[name].poll() is None, (self.directory / f"{name}.log").read_text()
        return self.check(name).returncode == 0

    def check(self, name: str, port: int | None = None, seconds: float = 20) -> subprocess.CompletedProcess[bytes]:
        """Run a service's health check as it stands, on another `port` if one is given. Raises TimeoutExpired."""
        service = self.services[name]
        # `$$` is how a Compose file writes one `$`.
        command = [word.replace("$$", "$") for word in service["healthcheck"]["test"][1:]]
        if name == "kafka":
            command[-1] = command[-1].replace("/127.0.0.1/9092", f"/127.0.0.1/{port or self.kafka.port}")
        ready = str(port) if port else self._here(service["environment"].get("READY_PORT", ""))
        environment = {"PATH": os.environ["PATH"], "READY_PORT": ready}
        return subprocess.run(command, env=environment, capture_output=True, timeout=seconds)

    def verb(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What `docker compose exec watch animusic …` runs."""
        environment = self.environment("watch")
        return subprocess.run(animusic(*words), env=environment, capture_output=True, text=True, timeout=60)

    @property
    def url(self) -> str:
        """The gateway's."""
        return f"http://127.0.0.1:{self._ports['8080']}"


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Native]:
    """The commands with their stores."""
    directory = Path(tmp_path_factory.mktemp("compose"))
    with kafka_node(directory / "kafka") as kafka, valkey_node(directory / "valkey") as valkey, qdrant_wire() as qdrant:
        running = Native(directory, kafka, valkey, qdrant)
        yield running
        for process in running.processes.values():
            process.kill()
            process.wait()


@pytest.mark.parametrize("name", [*sorted(JOBS), *SERVICES])
def test_the_settings_take_every_environment_as_it_is(native, name, monkeypatch) -> None:
    for variable in [variable for variable in os.environ if variable.startswith("ANIMUSIC_")]:
        monkeypatch.delenv(variable)
    for variable, value in native.given(name).items():
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.clickhouse.external
    assert (
        settings.clickhouse.dsn == f"http://animusic:{SECRETS['ANIMUSIC_CLICKHOUSE_PASSWORD']}@clickhouse:8123/animusic"
    )
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert settings.qdrant.url == "http://qdrant:6333"
    assert settings.signing_key() == SECRETS["ANIMUSIC_SECRET"].encode()


@pytest.mark.parametrize("name", ["topics", "catalogue", "models", "vectors"])
def test_a_job_does_its_work_and_ends(native, name) -> None:
    done = subprocess.run(
        native.command(name), env=native.environment(name), capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr


def test_the_models_lie_on_the_qdrant_server_and_are_named_there(native) -> None:
    aliases = {alias.alias_name: alias.collection_name for alias in native.qdrant.client.get_aliases().aliases}
    assert set(aliases) == {"tfidf", "node2vec", "minilm", "mpnet"}
    assert all(name.startswith(f"{arm}-") for arm, name in aliases.items())


def test_kafkas_health_check_hears_the_broker_and_not_only_its_socket(native) -> None:
    assert native.check("kafka").returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(subprocess.TimeoutExpired):
        native.check("kafka", port=silent.getsockname()[1], seconds=1)
    assert native.check("kafka", port=free_port()).returncode != 0


def test_every_service_gets_healthy_and_the_system_plays(native) -> None:
    for name in SERVICES:
        native.start(name)
    for name in SERVICES:
        poll(lambda name=name: native.healthy(name), timeout=90, interval=0.2, what=f"{name} is healthy")
    answer = httpx.get(f"{native.url}/playlist", params={"anilist_username": "new"}, timeout=20)
    assert len(answer.json()["videos"]) == 6, answer.text


def test_a_health_check_is_red_where_nobody_answers_or_the_answer_is_no(native) -> None:
    assert native.check("gateway", port=free_port()).returncode != 0
    with _answering(503) as port:
        assert native.check("gateway", port=port).returncode != 0
    with _answering(200) as port:
        assert native.check("gateway", port=port).returncode == 0


@contextlib.contextmanager
def _answering(status: int) -> Iterator[int]:
    """The port of a server that answers every GET with this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()


def test_verbs_find_every_part_from_the_container_with_the_data(native) -> None:
    def healthy() -> bool:
        done = native.verb("status")
        assert done.returncode in (0, 1, 2), done.stderr
        return done.returncode == 0

    poll(healthy, timeout=60, interval=1, what="`animusic status` is healthy where Compose runs it")
    assert "6" in native.verb("sql", "SELECT 2 * 3").stdout
    assert "tfidf" in native.verb("models", "list").stdout


def test_every_service_stops_cleanly(native) -> None:
    for name in reversed(SERVICES):
        native.processes[name].terminate()
        assert native.processes[name].wait(20) == 0, (native.directory / f"{name}.log").read_text()
