"""docker-compose.yml is a valid Compose file, holds no secret, and says of each service when it is well.

What an image has was read in its Dockerfile; there is no Docker engine here to ask.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from services.common.settings import Settings
from tests.support.examples import parse_animusic

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
SECRETS = {
    "ANIMUSIC_SECRET": "s" * 64,
    "ANIMUSIC_CLICKHOUSE_PASSWORD": "p" * 32,
    "ANIMUSIC_ANALYST_PASSWORD": "a" * 32,
}
JOBS = {"topics", "catalogue", "models", "vectors"}
OURS = {"gateway", "profiles", "warehouse", "recommender", "watch", "probe"}
# Programs of each image that a health check may use.
PROGRAMS = {
    "apache/kafka": {"bash"},
    "valkey/valkey": {"valkey-cli"},
    "clickhouse/clickhouse-server": {"wget", "bash"},
    # No curl and no wget: https://github.com/qdrant/qdrant/issues/3491
    "qdrant/qdrant": {"bash"},
    # Debian's slim image of Python.
    "animusic": {"bash", "python"},
}
# What the shell of a check may call beside its own words.
WITHIN_BASH = {"exec", "printf", "read", "[", "head", "wc"}


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
    assert set(services) == {"kafka", "valkey", "clickhouse", "qdrant"} | OURS | JOBS


@pytest.mark.parametrize("missing", SECRETS)
def test_a_secret_must_be_given(missing) -> None:
    done = compose("config", "--quiet", **{name: value for name, value in SECRETS.items() if name != missing})
    assert done.returncode != 0
    assert f"required variable {missing} is missing" in done.stderr


def test_no_secret_is_inside() -> None:
    for line in TEXT.splitlines():
        if "PASSWORD" in line or "SECRET" in line:
            assert line.startswith("#") or ":?" in line or "from_env=" in line, line
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()


def test_every_lasting_service_says_when_it_is_well(services) -> None:
    assert {name for name, service in services.items() if "healthcheck" not in service} == JOBS


def test_dependencies_wait_for_health_or_for_the_jobs_end(services) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in JOBS else "service_healthy"
            assert how["condition"] == wanted, (name, other)


@pytest.mark.parametrize("job", sorted(JOBS))
def test_a_running_service_waits_for_the_end_of_each_job(services, job) -> None:
    # `up --wait` takes the end of a container for a failure, unless some service waits for just that.
    waiting = {name for name, service in services.items() if job in service.get("depends_on", {})}
    assert waiting, "nothing waits for it, so `docker compose up --wait` fails when all is well"
    last = {name for name in _after(services, job) if name not in JOBS}
    assert last, "no service waits for what comes of it"
    assert services[job]["restart"] == "no"


def _after(services: dict[str, Any], name: str) -> set[str]:
    """What waits for a service, and what waits for that."""
    found = {other for other, service in services.items() if name in service.get("depends_on", {})}
    return found.union(*(_after(services, other) for other in found))


def test_one_service_builds_the_image_and_the_others_never_pull_it(services) -> None:
    ours = {name: service for name, service in services.items() if service["image"] == "animusic:local"}
    assert set(ours) == OURS | JOBS
    assert [name for name, service in ours.items() if "build" in service] == ["topics"]
    assert {service["pull_policy"] for name, service in ours.items() if name != "topics"} == {"never"}


def test_each_health_check_is_cheap_and_its_programs_are_in_the_image(services) -> None:
    for name, service in services.items():
        if name in JOBS:
            continue
        kind, program, *rest = service["healthcheck"]["test"]
        image = service["image"].partition(":")[0]
        assert kind == "CMD", name
        assert program in PROGRAMS[image], name
        assert "kafka-" not in " ".join(rest), "a script of Kafka's starts a JVM"
        assert program != "python", "a Python every five seconds is a sixth of a core for six services"
        if program == "bash":
            # The first word of each command of the script.
            script = re.sub(r"'[^']*'", "", rest[-1])
            called = re.findall(r"(?:^|&&|\||\$\()\s*([\w\[-]+)", script)
            assert set(called) <= WITHIN_BASH, (name, called)


def test_the_readiness_that_is_asked_is_of_the_port_that_is_set(services) -> None:
    own = {
        "profiles": "ANIMUSIC_PROFILES__METRICS_PORT",
        "warehouse": "ANIMUSIC_WAREHOUSE__PORT",
        "watch": "ANIMUSIC_MODELS__WATCH_PORT",
        "recommender": "ANIMUSIC_RECOMMENDER__PORT",
        "gateway": "ANIMUSIC_PORT",
        "probe": "ANIMUSIC_PROBE__PORT",
    }
    assert set(own) == OURS
    for name, variable in own.items():
        assert services[name]["environment"]["READY_PORT"] == services[name]["environment"][variable], name


def test_each_variable_of_ours_is_a_setting(services) -> None:
    known = set(_variables())
    for name in OURS | JOBS:
        given = {variable for variable in services[name]["environment"] if variable.startswith("ANIMUSIC_")}
        assert given <= known, name
        assert set(services[name]["environment"]) - given <= {"READY_PORT"}, name


def _variables() -> list[str]:
    found = []
    for name, field in Settings.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        found += [f"ANIMUSIC_{name}".upper()] if inner is None else [f"ANIMUSIC_{name}__{n}".upper() for n in inner]
    return found


def test_each_command_of_ours_is_a_verb(services) -> None:
    for name in OURS | JOBS:
        assert parse_animusic(services[name]["command"]) is None, name


def test_each_verb_of_the_comments_is_one() -> None:
    head = TEXT[: TEXT.index("name: animusic")]
    lines = re.findall(r"docker compose (?:exec \w+ animusic|run .*? catalogue) (.+)", head)
    assert len(lines) >= 3
    for line in lines:
        assert parse_animusic(shlex.split(line)) is None, line


def test_two_ports_are_published_and_on_loopback_only(services) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"gateway", "clickhouse"}
    assert {port["host_ip"] for ports in published.values() for port in ports} == {"127.0.0.1"}


def test_another_name_and_other_ports_can_be_set() -> None:
    chosen = {"PUBLIC_HOST": "music.example.org", "PAPER_ENDPOINTS": "false", "PORT": "80", "SQL_PORT": "81"}
    done = compose("config", "--format", "json", **SECRETS, **chosen)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["services"]
    gateway = found["gateway"]["environment"]
    assert json.loads(gateway["ANIMUSIC_GATEWAY__ALLOWED_HOSTS"]) == ["gateway", "music.example.org"]
    assert gateway["ANIMUSIC_GATEWAY__PAPER_ENDPOINTS"] == "false"
    assert [found[name]["ports"][0]["published"] for name in ("gateway", "clickhouse")] == ["80", "81"]


def test_whoever_names_a_host_says_what_becomes_of_the_endpoints_without_a_bearer() -> None:
    done = compose("config", "--quiet", **SECRETS, PUBLIC_HOST="music.example.org")
    assert done.returncode != 0
    assert "PAPER_ENDPOINTS" in done.stderr


def test_analysts_may_only_read_the_one_database(services) -> None:
    done = compose("config", "--format", "json", **SECRETS)
    users = ET.parse(ROOT / json.loads(done.stdout)["configs"]["analyst"]["file"]).getroot()
    (mounted,) = services["clickhouse"]["configs"]
    assert (mounted["source"], mounted["target"]) == ("analyst", "/etc/clickhouse-server/users.d/analyst.xml")
    user = users.find("users/analyst")
    assert user is not None
    assert [query.text for query in user.findall("grants/query")] == ["GRANT SELECT ON animusic.*"]
    assert user.findtext("profile") == "analyst"
    password = user.find("password")
    assert password is not None
    assert password.attrib == {"from_env": "ANALYST_PASSWORD"}
    assert services["clickhouse"]["environment"]["ANALYST_PASSWORD"] == SECRETS["ANIMUSIC_ANALYST_PASSWORD"]
    limits = Settings().warehouse
    profile = "profiles/analyst"
    assert users.findtext(f"{profile}/readonly") == "2"
    assert users.findtext(f"{profile}/max_execution_time") == str(limits.query_seconds)
    assert users.findtext(f"{profile}/max_memory_usage") == str(limits.query_memory_mb * 1_000_000)
    for limit in ("max_execution_time", "max_memory_usage"):
        assert users.findtext(f"{profile}/constraints/{limit}/max") == users.findtext(f"{profile}/{limit}")


def test_what_must_last_lies_in_a_volume(services) -> None:
    for store in ("kafka", "valkey", "clickhouse", "qdrant"):
        assert [volume["type"] for volume in services[store]["volumes"]] == ["volume"], store
