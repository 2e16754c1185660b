"""What the supervisor runs: an engine or one of our services, each a command with a way to ask whether it is ready."""

import http.client
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from services.common.settings import REPO_ROOT
from services.local.engines.engine import Engine
from services.local.layout import Layout

PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Part:
    """One child of the supervisor.

    Attributes:
        name: also the name of its log and its pidfile.
        address: where it answers, for people.
        prepare: called before each start.
        command, env: what to run; asked anew at each start.
        ready: whether it serves now; blocks for a few seconds at most and never raises.
        cwd: the directory that it is started in; None: the supervisor's.
    """

    name: str
    address: str
    prepare: Callable[[], None]
    command: Callable[[], list[str]]
    env: Callable[[], Mapping[str, str]]
    ready: Callable[[], bool]
    cwd: Path | None = None


def engine_part(name: str, engine: Engine, address: str) -> Part:
    """An engine (Kafka, Valkey) as a part."""
    return Part(name, address, engine.prepare, engine.command, engine.env, engine.probe, engine.data_dir)


def service_part(name: str, service: str, url: str, environment: Mapping[str, str]) -> Part:
    """One of our services as a part; it is ready when its /readyz says so."""
    return Part(
        name=name,
        address=url,
        prepare=lambda: None,
        command=lambda: animusic("serve", service),
        env=lambda: environment,
        ready=lambda: answers(f"{url}/readyz"),
    )


def watch_part(name: str, url: str, environment: Mapping[str, str]) -> Part:
    """What rebuilds models when the catalogue changes; ready while it can follow the log."""
    return Part(
        name=name,
        address=url,
        prepare=lambda: None,
        command=lambda: animusic("models", "watch"),
        env=lambda: environment,
        ready=lambda: answers(f"{url}/readyz"),
    )


def animusic(*arguments: str) -> list[str]:
    """The command line of an `animusic` verb in this very environment."""
    return [sys.executable, "-P", "-m", "services.cli.main", *arguments]


def child_environment(layout: Layout, **variables: str) -> dict[str, str]:
    """This process's environment for a child of ours: the same data directory whatever its working directory."""
    paths = [str(REPO_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    own = {"ANIMUSIC_DATA_DIR": str(layout.root), "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **own, **variables}


def answers(url: str) -> bool:
    """Whether a GET of `url` is answered with 2xx."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", parts.path)
        return 200 <= connection.getresponse().status < 300
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
