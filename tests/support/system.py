"""The whole system under its real supervisor, on a directory and ports of a test's own, and a client for it."""

import contextlib
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from services.common.settings import ENDPOINTS_FILE, Settings
from services.local.parts import animusic
from tests.support.waiting import poll

ROOT = Path(__file__).parents[2]
START_S = 150.0
PARTS = ("kafka", "valkey", "profiles", "warehouse", "recommender", "gateway", "watch")


class System:
    """One data directory with `animusic run` on it, started and stopped as often as a test likes."""

    def __init__(self, data_dir: Path, **variables: str) -> None:
        """`variables` are settings, by their names in the environment. No probe: its events would be among a test's."""
        self.data_dir = data_dir
        self.output = data_dir.parent / f"{data_dir.name}.output"
        self._variables = {"ANIMUSIC_PORT": "0", "ANIMUSIC_PROBE__ENABLED": "false", **variables}
        self._process: subprocess.Popen[bytes] | None = None

    # ---- the supervisor ---------------------------------------------------------------------------------------------

    def environment(self, **variables: str) -> dict[str, str]:
        """The environment of a command for this system; settings of whoever runs the tests are left out."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ANIMUSIC_")}
        own = {"ANIMUSIC_DATA_DIR": str(self.data_dir), "PYTHONPATH": str(ROOT)}
        return {**clean, **own, **self._variables, **variables}

    def start(self) -> "System":
        """Run the supervisor and return once everything runs. Raises AssertionError with what it printed."""
        self.spawn()
        poll(self._is_up, timeout=START_S, interval=0.1, what="the system is up")
        return self

    def spawn(self) -> None:
        """Run the supervisor and return at once."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                animusic("run"), env=self.environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the supervisor ended:\n{self.printed()}"
        return "Stop with Ctrl-C" in self.printed()

    def printed(self) -> str:
        """What the supervisor has printed since its last start."""
        return self.output.read_text(encoding="utf-8", errors="replace") if self.output.exists() else ""

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> int:
        """SIGTERM, wait, and the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(timeout=60)
        self._process = None
        return status

    def kill(self) -> None:
        """kill -9 of the supervisor alone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def close(self) -> None:
        """End whatever still runs."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
        self.drop()

    def drop(self) -> None:
        """kill -9 of whatever still runs: an orderly stop takes seconds."""
        if self._process is not None:
            self.kill()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        poll(lambda: not self.processes(), timeout=15, what="nothing of the system runs")

    # ---- what it says of itself -------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """status.json; empty while nothing runs."""
        try:
            return dict(json.loads((self.data_dir / "run" / "status.json").read_text(encoding="utf-8")))
        except OSError:
            return {}

    def part(self, name: str) -> dict[str, Any]:
        """One part's state, pid, restarts and address."""
        return dict(self.status()["parts"][name])

    @property
    def url(self) -> str:
        """The public address."""
        return str(self.status()["url"])

    def settings(self) -> Settings:
        """The settings with the addresses of this running system."""
        endpoints = json.loads((self.data_dir / ENDPOINTS_FILE).read_text(encoding="utf-8"))
        return Settings(data_dir=self.data_dir, **endpoints)

    def processes(self) -> list[psutil.Process]:
        """Every living process of this data directory, the supervisor included, wherever it hangs in the tree."""
        mark = str(self.data_dir)
        return [process for process in psutil.process_iter() if _belongs(process, mark)]

    def ready(self, name: str = "gateway") -> bool:
        """Whether a part's /readyz is green now; for the stores, what the supervisor says."""
        found = self.part(name)
        if not found["address"].startswith("http"):
            return bool(found["state"] == "ready")
        try:
            return httpx.get(f"{found['address']}/readyz", timeout=5).is_success
        except httpx.TransportError:
            return False

    def kill_part(self, name: str) -> int:
        """kill -9 of one child; its pid."""
        pid = int(self.part(name)["pid"])
        os.kill(pid, signal.SIGKILL)
        return pid

    # ---- commands ---------------------------------------------------------------------------------------------------

    def command(self, *arguments: str, timeout: float = 60, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run an `animusic` verb against this data directory, to its end."""
        environment = self.environment(**variables)
        if arguments[0] != "run":
            # Port 0 asks the supervisor for any free one; every other verb finds what it chose.
            environment.pop("ANIMUSIC_PORT")
        return subprocess.run(animusic(*arguments), env=environment, capture_output=True, text=True, timeout=timeout)


def _belongs(process: psutil.Process, mark: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
            return False
        told = process.environ().get("ANIMUSIC_DATA_DIR", "")
        return told == mark or any(mark in argument for argument in process.cmdline())
    except psutil.Error:
        return False


class Listener:
    """A guest of a running system, with a bearer of its own."""

    def __init__(self, url: str, *, timeout: float = 20.0) -> None:
        self.http = httpx.Client(base_url=url, timeout=timeout)
        session = self.http.post("/v1/sessions", json={"guest": True})
        assert session.status_code == 201, session.text
        self.user_id: str = session.json()["user_id"]
        self.token: str = session.json()["token"]
        self.http.headers["authorization"] = f"Bearer {self.token}"

    def playlist(self, not_before: str | None = None) -> dict[str, Any]:
        """A new playlist. Raises AssertionError with the answer when there is none."""
        answer = self.http.post("/v1/playlists", json={"not_before": not_before} if not_before else {})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def post(self, *events: Mapping[str, Any]) -> dict[str, Any]:
        """Post events; the 202's body."""
        answer = self.http.post("/v1/events", json={"events": list(events)})
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def send(self, *events: Mapping[str, Any]) -> str:
        """Post events that must all be accepted; the receipt."""
        answer = self.post(*events)
        assert not answer["rejected"], answer
        return str(answer["receipt"])

    def profile(self) -> dict[str, Any]:
        """GET /v1/me/profile."""
        answer = self.http.get("/v1/me/profile")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def close(self) -> None:
        """Close the connections."""
        self.http.close()


def event(kind: str, **fields: Any) -> dict[str, Any]:
    """A client event of now, with an id of its own."""
    return {
        "event_id": str(uuid.uuid4()),
        "kind": kind,
        "occurred_at": time.time_ns() // 1_000_000,
        "schema": 1,
        **fields,
    }


def of_slot(kind: str, slot: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A client event of a served slot, with its token."""
    return event(kind, song_id=slot["song_id"], slot_token=slot["slot_token"], **fields)


@contextlib.contextmanager
def running_system(data_dir: Path, **variables: str) -> Iterator[System]:
    """A system that is up; everything of it is ended afterwards, in no order: a test that wants one calls `stop`."""
    system = System(data_dir, **variables)
    try:
        yield system.start()
    finally:
        system.drop()
