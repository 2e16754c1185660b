"""The real system under its supervisor, as tests start it, with its start times, port and pids."""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from services.common.settings import REPO_ROOT
from tests.support.system import System
from tests.support.waiting import poll

# The first start imports 14,885 songs and builds two models; on a busy machine that takes minutes.
START_S = 900.0

# Guests come from one address here, and from thousands in life.
_SETTINGS = {"ANIMUSIC_GATEWAY__SESSIONS_PER_MINUTE": "1000000", "ANIMUSIC_LOG_LEVEL": "WARNING"}


class Measured(System):
    """One data directory and the supervisor on it. `starts`: seconds of each start so far, until everything ran.

    `new`: the directory held nothing before, so the first start was the first on this data.
    """

    def __init__(self, data_dir: Path, *, catalogue: str = "synthetic", probe: bool = False) -> None:
        told = {"ANIMUSIC_LOCAL__CATALOGUE": catalogue, "ANIMUSIC_PROBE__ENABLED": str(probe).lower()}
        super().__init__(data_dir, **told, **_SETTINGS)
        self.starts: list[float] = []
        self.new = not data_dir.exists()
        self.port = 0

    async def begin(self, *, recommenders: int = 1) -> float:
        """Start and wait until everything runs; the seconds it took. Raises AssertionError with what was printed."""
        self._variables["ANIMUSIC_RECOMMENDER__PROCESSES"] = str(recommenders)
        began = time.perf_counter()
        self.spawn()
        await asyncio.to_thread(poll, self._is_up, timeout=START_S, interval=0.1, what="the system is up")
        self.starts.append(time.perf_counter() - began)
        self.port = urlsplit(self.url).port or 0
        return self.starts[-1]

    async def end(self) -> None:
        """Stop everything in order."""
        await asyncio.to_thread(self.close)

    async def again(self, *, recommenders: int = 1) -> float:
        """Stop and start on the same data; the seconds that the start took."""
        await self.end()
        return await self.begin(recommenders=recommenders)

    def pids(self) -> dict[str, int]:
        """Part -> process id, the supervisor's own included."""
        parts = self.status()["parts"]
        return {"supervisor": self.pid, **{name: part["pid"] for name, part in parts.items() if part["pid"]}}


def clean_environment(data_dir: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """This environment without any setting of AniMusic's but `variables` and the data directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANIMUSIC_")}
    own = {"PYTHONPATH": str(REPO_ROOT), "ANIMUSIC_DATA_DIR": str(data_dir), "ANIMUSIC_LOG_LEVEL": "WARNING"}
    return {**kept, **own, **variables}
