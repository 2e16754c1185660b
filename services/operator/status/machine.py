"""The state of this machine: the data directory's size, the supervisor's children, the services' /readyz."""

import asyncio
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from services.common.http.listening import CannotListen, listen, who_listens
from services.common.process.identity import ProcessIdentity, is_alive
from services.common.settings import Settings
from services.local.errors import LocalError
from services.local.processes.environment import settled
from services.local.processes.java import find_java
from services.operator.findings import Finding
from services.operator.status.model import SILENT, Disk, Process, ServiceHealth

_SIZE_SECONDS: Final = 1.5
_PAGE: Final = "docs/runbook/is-it-healthy.md#nothing-runs"
_GAPS: Final = re.compile(r"^animusic_consumer_gaps_total\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)


def before_start(settings: Settings) -> Iterator[Finding]:
    """The requirements of a start: Python, Java, a directory to write to, a free port. Blocks for a moment."""
    yield Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")
    data_dir = settings.data_dir.absolute()
    # Not by the settings: a system that was killed left its addresses among them.
    if "ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS" not in os.environ:
        try:
            java = find_java()
            settled(os.environ, data_dir)
            yield Finding("java", "ok", f"{java.version} at {java.executable} ({java.source})")
        except LocalError as error:
            yield Finding("java", "fail", str(error), "Kafka needs it: do what the sentence above says", _PAGE)
    there = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        remedy = "choose a directory that you may write to: ANIMUSIC_DATA_DIR"
        yield Finding("data directory", "fail", f"{there} cannot be written to", remedy, _PAGE)
    else:
        made = "" if there == data_dir else " (`make run` makes it)"
        free = shutil.disk_usage(there).free / 2**30
        yield Finding("data directory", "ok", f"{data_dir}{made}, {free:.1f} GB free")
    try:
        listen(settings.host, settings.port, "ANIMUSIC_PORT").close()
        yield Finding("public port", "ok", f"{settings.host}:{settings.port} is free")
    except CannotListen as error:
        yield Finding("public port", "fail", f"{settings.port} cannot be had", str(error), _PAGE)


def disk(data_dir: Path) -> Disk:
    """Bytes of each directory below the data directory; what takes longer than a moment to count is left out."""
    if not data_dir.is_dir():
        return Disk(str(data_dir), trouble="there is no such directory on this machine")
    usage, deadline = shutil.disk_usage(data_dir), time.monotonic() + _SIZE_SECONDS
    used = {path.name: _size(path, deadline) for path in sorted(data_dir.iterdir()) if path.is_dir()}
    used = {name: size for name, size in used.items() if size}
    return Disk(str(data_dir), used=used, free=usage.free, size=usage.total)


def _size(root: Path, deadline: float) -> int:
    """Bytes that the files take (not their lengths: Kafka's index files are sparse)."""
    total = 0
    for directory, _, files in os.walk(root):
        for name in files:
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except OSError:
                continue
        if time.monotonic() > deadline:
            break
    return total


def processes(supervisor: dict[str, Any]) -> list[Process]:
    """The children as `status.json` of a local system names them; none without one."""
    return [_process(name, part) for name, part in supervisor.get("parts", {}).items()]


def _process(name: str, part: dict[str, Any]) -> Process:
    started: float | None = part.get("started")
    seconds = None if started is None else max(0.0, time.time() - started)
    alive = is_alive(part["pid"], started)
    return Process(name, part["state"], part["pid"], part["restarts"], alive, part.get("trouble") or "", seconds)


def addresses(settings: Settings, supervisor: dict[str, Any]) -> dict[str, tuple[str, ProcessIdentity]]:
    """Service -> base URL, and who must answer there: as the supervisor says, else as far as the settings say."""
    installation, parts = str(supervisor.get("installation", "")), supervisor.get("parts", {})
    if found := {name: part for name, part in parts.items() if str(part["address"]).startswith("http")}:
        return {
            name: (part["address"].rstrip("/"), ProcessIdentity(_service_of(name), installation, part["pid"]))
            for name, part in found.items()
        }
    urls = settings.gateway.recommender_urls
    named = {"gateway": f"http://{settings.host}:{settings.port}"}
    for number, url in enumerate(urls, start=1):
        named["recommender" if len(urls) == 1 else f"recommender-{number}"] = url.rstrip("/")
    named["warehouse"] = f"http://{settings.warehouse.host}:{settings.warehouse.port}"
    if settings.profiles.metrics_port:
        named["profiles"] = f"http://127.0.0.1:{settings.profiles.metrics_port}"
    return {name: (url, ProcessIdentity(_service_of(name))) for name, url in named.items()}


def _service_of(name: str) -> str:
    """The service of a part: several recommenders have a number each."""
    return name.partition("-")[0]


async def services(asked: Mapping[str, tuple[str, ProcessIdentity]], seconds: float) -> list[ServiceHealth]:
    """What each service answers at /readyz, and the gaps that it counts."""
    secure = any(url.startswith("https:") for url, _ in asked.values())
    async with httpx.AsyncClient(timeout=seconds, verify=secure) as client:
        return list(await asyncio.gather(*(_service(client, name, *where) for name, where in asked.items())))


async def _service(client: httpx.AsyncClient, name: str, url: str, who: ProcessIdentity) -> ServiceHealth:
    try:
        ready = await client.get(f"{url}/readyz")
        metrics = await client.get(f"{url}/metrics")
    except httpx.HTTPError as error:
        return ServiceHealth(name, url, ready=False, detail=f"{SILENT} ({type(error).__name__})")
    body = _body(ready)
    if stranger := who.differs(body):
        return ServiceHealth(name, url, ready=False, detail=stranger, stranger=await asyncio.to_thread(_who_is_at, url))
    arms = {}
    if "left_out" in body:
        # A recommender's: it says of its catalogue and of its arms.
        arms = {"left_out": body["left_out"], "old": body.get("behind", {}), "songs": body.get("songs")}
    return ServiceHealth(
        name,
        url,
        ready=ready.is_success,
        detail=_reason(ready, body),
        gaps=int(sum(float(number) for number in _GAPS.findall(metrics.text))),
        behind=_behind(body),
        rebuild=str(body.get("rebuild", "")),
        **arms,
    )


def _who_is_at(url: str) -> str:
    """The program that listens at a URL; unknown on another machine."""
    parts = urlsplit(url)
    return who_listens(parts.port or 80) if parts.hostname in ("127.0.0.1", "localhost", "::1") else "another program"


def _body(answer: httpx.Response) -> dict[str, Any]:
    """What /readyz says; nothing where it is no object of JSON."""
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _behind(body: dict[str, Any]) -> dict[str, int]:
    """What the body of /readyz says of lags: a consumer its one, a recommender one for each thing that it follows."""
    lags = {**body.get("follows", {}), **({"log": body} if "lag" in body else {})}
    return {name: int(lag["lag"]) for name, lag in lags.items()}


def _reason(answer: httpx.Response, body: dict[str, Any]) -> str:
    """What is wrong, from the three shapes of /readyz bodies; "" where nothing is."""
    if answer.is_success:
        return ""
    if not body:
        return f"answers {answer.status_code}"
    if "reason" in body:
        return str(body["reason"])
    if "missing" in body:
        return "; ".join(f"{part}: {what}" for part, what in body["missing"].items())
    return "; ".join(f"{name}: {part['detail']}" for name, part in body.get("parts", {}).items() if not part["ok"])
