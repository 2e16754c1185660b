"""`serve` as its own process: it prints its address, stops on SIGTERM with 0, and names a port in use."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from contracts.topics import FEEDBACK
from services.common.http.listening import listen
from services.common.settings import REPO_ROOT, KafkaSettings
from tests.connected.gateway.conftest import SECRET, liked, records_of
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected

PROGRAM = """
import asyncio, uvloop
from services.common.settings import Settings
from services.common.process.startup import configure_logging
from services.gateway.app import serve

configure_logging("INFO")
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(serve(Settings()))
"""


@asynccontextmanager
async def process(log: KafkaSettings, data_dir: Path, port: int = 0) -> AsyncIterator[asyncio.subprocess.Process]:
    mine = {
        "ANIMUSIC_DATA_DIR": str(data_dir),
        "ANIMUSIC_PORT": str(port),
        "ANIMUSIC_SECRET": SECRET,
        "ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS": log.bootstrap_servers,
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, cwd=REPO_ROOT, env={**os.environ, **mine}, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def address(child: asyncio.subprocess.Process) -> str:
    assert child.stderr is not None
    async for line in child.stderr:
        found = re.search(rb"gateway on (http://\S+) \(uvloop\)", line)
        if found:
            return found[1].decode()
    raise AssertionError("the gateway ended before it said where it listens")


async def test_sigterm_ends_streams_flushes_and_returns_0(log: KafkaSettings, tmp_path: Path) -> None:
    async with process(log, tmp_path) as child, httpx.AsyncClient(timeout=30) as client:
        url = await asyncio.wait_for(address(child), 30)

        async def up() -> bool:
            try:
                return (await client.get(f"{url}/healthz")).status_code == 200
            except httpx.TransportError:
                return False

        await apoll(up, what="the gateway answers")
        session = (await client.post(f"{url}/v1/sessions", json={"guest": True})).json()
        bearer = {"Authorization": f"Bearer {session['token']}"}
        async with client.stream("GET", f"{url}/v1/me/live", headers=bearer) as stream:
            chunks = stream.aiter_bytes()
            assert b"event: hello" in await anext(chunks)
            answer = await client.post(f"{url}/v1/events", json={"events": [liked()]}, headers=bearer)
            assert answer.status_code == 202
            child.send_signal(signal.SIGTERM)
            rest = b"".join([chunk async for chunk in chunks])
            assert b"event: accepted" in rest
        assert await asyncio.wait_for(child.wait(), 20) == 0
    assert len(await records_of(log, FEEDBACK.name)) == 1


async def test_a_port_in_use_is_named_with_what_to_do(log: KafkaSettings, tmp_path: Path) -> None:
    with listen("127.0.0.1", 0, "ANIMUSIC_PORT") as taken:
        port = taken.getsockname()[1]
        async with process(log, tmp_path, port) as child:
            _, errors = await asyncio.wait_for(child.communicate(), 30)
    assert child.returncode != 0
    assert f"Port {port} on 127.0.0.1 is taken by".encode() in errors
    assert f"(process {os.getpid()})".encode() in errors
    assert b"ANIMUSIC_PORT" in errors
