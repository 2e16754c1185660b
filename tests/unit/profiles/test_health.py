"""Readiness and metrics of a process without an HTTP surface of its own."""

import asyncio
import os

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from services.common.http.listening import CannotListen
from services.common.http.server import HealthServer
from services.common.process.identity import ProcessIdentity

ME = ProcessIdentity("profiles", "a" * 32, os.getpid())


async def test_readiness_says_why_not_and_metrics_are_shown():
    reasons = ["no partition is assigned yet", None]
    registry = CollectorRegistry()
    Counter("things", "counted", registry=registry).inc()
    server = HealthServer(ME, lambda: reasons.pop(0), registry)
    port = await server.start(0, "ANIMUSIC_X__PORT")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        not_yet = await client.get("/readyz")
        assert (not_yet.status_code, not_yet.json()["reason"]) == (503, "no partition is assigned yet")
        assert (await client.get("/readyz?verbose")).status_code == 200
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert "things_total 1.0" in (await client.get("/metrics")).text
        assert (await client.get("/")).status_code == 404
    await server.close()


async def test_a_port_in_use_is_named():
    first = HealthServer(ME, lambda: None, CollectorRegistry())
    port = await first.start(0, "ANIMUSIC_X__PORT")
    with pytest.raises(CannotListen, match=rf"Port {port} .*process {os.getpid()}.*ANIMUSIC_X__PORT={port + 1}"):
        await HealthServer(ME, lambda: None, CollectorRegistry()).start(port, "ANIMUSIC_X__PORT")
    await first.close()


async def test_an_invalid_request_is_400():
    server = HealthServer(ME, lambda: None, CollectorRegistry())
    port = await server.start(0, "ANIMUSIC_X__PORT")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"nonsense\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = await client.get("/elsewhere")
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    await server.close()


async def test_readiness_tells_how_far_it_is():
    server = HealthServer(ME, lambda: "waiting", CollectorRegistry(), lambda: {"lag": 7, "oldest_seconds": 1.5})
    port = await server.start(0, "ANIMUSIC_X__PORT")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        said = (await client.get("/readyz")).json()
    assert said == {"status": "not ready", "reason": "waiting", "lag": 7, "oldest_seconds": 1.5, **ME.as_dict()}
    await server.close()
