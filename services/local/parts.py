"""The supervisor's children: Kafka, Valkey and our services, each with a command and a readiness check."""

import http.client
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from services.common.process.identity import ProcessIdentity
from services.common.settings import REPO_ROOT
from services.local.layout import Layout, installation_of
from services.local.processes.managed import ManagedProcess

PROBE_TIMEOUT_S: Final = 2.0
# A /readyz takes a few hundred bytes.
MOST_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class Part:
    """One child of the supervisor.

    Attributes:
        name: also the name of its log and its pidfile.
        address: where it answers, for people.
        prepare: called before each start.
        command, env: what to run; asked anew at each start.
        trouble: why the process of this id does not serve now, or None; blocks for a few seconds at most, never raises.
        cwd: the directory that it is started in; None: the supervisor's.
    """

    name: str
    address: str
    prepare: Callable[[], None]
    command: Callable[[], list[str]]
    env: Callable[[], Mapping[str, str]]
    trouble: Callable[[int], str | None]
    cwd: Path | None = None


def managed_part(name: str, process: ManagedProcess, address: str) -> Part:
    """A managed process (Kafka, Valkey) as a part."""
    return Part(name, address, process.prepare, process.command, process.env, process.trouble, process.data_dir)


def service_part(name: str, service: str, url: str, environment: Mapping[str, str]) -> Part:
    """One of our services as a part; it is ready when its own /readyz says so."""
    return _answering_part(name, service, animusic("serve", service), url, environment)


def model_worker_part(name: str, url: str, environment: Mapping[str, str]) -> Part:
    """The model rebuild worker; ready while it can follow the log."""
    return _answering_part(name, "watch", animusic("models", "watch"), url, environment)


def _answering_part(name: str, service: str, command: list[str], url: str, environment: Mapping[str, str]) -> Part:
    installation = environment.get("ANIMUSIC_INSTALLATION", "")
    return Part(
        name=name,
        address=url,
        prepare=lambda: None,
        command=lambda: command,
        env=lambda: environment,
        trouble=lambda pid: trouble_at(url, ProcessIdentity(service, installation, pid)),
    )


def animusic(*arguments: str) -> list[str]:
    """The command line of an `animusic` verb in this very environment."""
    return [sys.executable, "-P", "-m", "services.cli.main", *arguments]


def child_environment(layout: Layout, **variables: str) -> dict[str, str]:
    """This process's environment for a child of ours: the same data directory whatever its working directory."""
    paths = [str(REPO_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    own = {
        "ANIMUSIC_DATA_DIR": str(layout.root),
        "ANIMUSIC_INSTALLATION": installation_of(layout),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
    }
    return {**os.environ, **own, **variables}


def trouble_at(url: str, expected: ProcessIdentity) -> str | None:
    """Why the /readyz below `url` is not that of the expected process and green, or None. Never raises OSError."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = _object(answer.read(MOST_BYTES))
    except (OSError, http.client.HTTPException) as error:
        return f"{url} does not answer ({type(error).__name__})"
    finally:
        connection.close()
    if differs := expected.differs(body):
        return f"{differs}, at {url}"
    return None if 200 <= answer.status < 300 else f"it answers {answer.status} at {url}/readyz"


def _object(raw: bytes) -> dict[str, Any]:
    """The JSON object that `raw` is; empty where it is none."""
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
