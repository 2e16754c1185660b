"""Events that flow meanwhile, from a process of their own, so that they cost the measuring one nothing.

`python -m tests.bench.flow` reads {"port", "rate", "batch", "listeners": [[token, [song ids]], …]} from standard input
and posts `rate` events a second in posts of `batch` until SIGTERM; then it prints {"accepted", "refused", "wall",
"cpu"}.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvloop

from services.common.settings import REPO_ROOT
from tests.bench.events import playing, post
from tests.bench.http_load import Connection
from tests.bench.listeners import Listener

CONNECTIONS = 16
BATCH = 5


@dataclass
class Flowed:
    """What flowed between start and stop; `share` is the process's CPU in shares of one core."""

    accepted: int = 0
    refused: int = 0
    wall: float = 0.0
    cpu: float = 0.0

    @property
    def per_second(self) -> float:
        """Events a second."""
        return self.accepted / self.wall if self.wall else 0.0

    @property
    def share(self) -> float:
        """CPU of the process as a share of one core."""
        return self.cpu / self.wall if self.wall else 0.0


@asynccontextmanager
async def flowing(port: int, rate: float, listeners: Sequence[Listener]) -> AsyncIterator[Flowed]:
    """Keep events flowing inside the block; the result is filled when the block ends."""
    told = {"port": port, "rate": rate, "batch": BATCH, "listeners": [one.as_json() for one in listeners if one.heard]}
    result = Flowed()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.flow", stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPO_ROOT
    )
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(json.dumps(told).encode() + b"\n")
    child.stdin.close()
    try:
        await child.stdout.readline()  # it says that the first post was answered
        yield result
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        said = await child.stdout.read()
        await child.wait()
        if said.strip():
            result.__dict__.update(json.loads(said))


@dataclass
class _Flow:
    told: dict[str, Any]
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    accepted: int = 0
    refused: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Post on time; what comes late is posted at once, so the rate holds on average."""
        pause = self.told["batch"] / self.told["rate"]
        free: asyncio.Queue[Connection] = asyncio.Queue()
        for _ in range(CONNECTIONS):
            free.put_nowait(Connection(self.told["port"]))
        due, running, parent = time.perf_counter(), set(), os.getppid()
        # A measuring process that is killed must not leave one that goes on posting.
        while not stop.is_set() and os.getppid() == parent:
            running.add(task := asyncio.create_task(self._post(await free.get(), free)))
            task.add_done_callback(running.discard)
            due += pause
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await asyncio.gather(*running)

    async def _post(self, connection: Connection, free: "asyncio.Queue[Connection]") -> None:
        token, songs = self.rng.choice(self.told["listeners"])
        try:
            status, body = await connection.ask(post(token, playing(self.rng, songs, self.told["batch"])))
        finally:
            free.put_nowait(connection)
        if not self.accepted and not self.refused:
            print("flowing", flush=True)
        if status == 202:
            self.accepted += orjson.loads(body)["accepted"]
        else:
            self.refused += self.told["batch"]


async def _main() -> None:
    flow, stop = _Flow(json.loads(sys.stdin.readline())), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    began, cpu = time.perf_counter(), time.process_time()
    await flow.run(stop)
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({"accepted": flow.accepted, "refused": flow.refused, "wall": wall, "cpu": used}), flush=True)


if __name__ == "__main__":
    uvloop.run(_main())
