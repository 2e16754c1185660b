"""docker-compose.yml is a valid Compose file, holds no secret, and says of each service when it is well."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SECRETS = {"ANIMUSIC_SECRET": "s" * 64, "ANIMUSIC_CLICKHOUSE_PASSWORD": "p" * 32}
JOBS = {"topics", "catalogue", "models", "vectors"}


def compose(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The Compose client, which needs no Docker to read a file."""
    client = shutil.which("docker-compose", path=str(Path(sys.executable).parent))
    assert client, "the development environment has no docker-compose; `make test` installs it"
    command = [client, "--file", str(ROOT / "docker-compose.yml"), *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services as Compose understands them."""
    done = compose("config", "--format", "json", **SECRETS)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout)["services"])


def test_it_holds_what_the_design_draws(services) -> None:
    stores, ours = (
        {"kafka", "valkey", "clickhouse", "qdrant"},
        {"gateway", "profiles", "warehouse", "recommender", "watch", "probe"},
    )
    assert set(services) == stores | ours | JOBS


@pytest.mark.parametrize("missing", SECRETS)
def test_a_secret_must_be_given(missing) -> None:
    done = compose("config", "--quiet", **{name: value for name, value in SECRETS.items() if name != missing})
    assert done.returncode != 0
    assert f"required variable {missing} is missing" in done.stderr


def test_no_secret_is_inside() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    for line in text.splitlines():
        if "PASSWORD" in line or "SECRET" in line:
            assert line.startswith("#") or ":?" in line, line


def test_every_lasting_service_says_when_it_is_well(services) -> None:
    assert {name for name, service in services.items() if "healthcheck" not in service} == JOBS


def test_dependencies_wait_for_health_or_for_the_jobs_end(services) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in JOBS else "service_healthy"
            assert how["condition"] == wanted, (name, other)


def test_only_the_gateway_is_published_and_on_loopback_only(services) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"gateway"}
    assert [port["host_ip"] for port in published["gateway"]] == ["127.0.0.1"]


def test_what_must_last_lies_in_a_volume(services) -> None:
    for store in ("kafka", "valkey", "clickhouse", "qdrant"):
        assert [volume["type"] for volume in services[store]["volumes"]] == ["volume"], store
