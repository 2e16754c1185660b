"""The HTTP server of every service: what is under way when it is told to stop, and what it leaves to the service."""

import asyncio
import os
import signal

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.common.http.server import HttpServer, stop_on_signals

SETTING = "ANIMUSIC_X__PORT"


async def test_a_request_that_is_under_way_is_answered_and_nothing_after_it() -> None:
    asked, told = asyncio.Event(), asyncio.Event()

    async def slow(_: Request) -> Response:
        asked.set()
        await told.wait()
        return PlainTextResponse("done")

    server = HttpServer(Starlette(routes=[Route("/", slow)]), stop_seconds=10, on_stop=told.set)
    url = f"http://127.0.0.1:{server.start('127.0.0.1', 0, SETTING)}"
    async with httpx.AsyncClient() as client:
        asking = asyncio.create_task(client.get(url))
        await asyncio.wait_for(asked.wait(), 10)
        await server.close()
        answer = await asking
        assert (answer.status_code, answer.text) == (200, "done")
        assert "server" not in answer.headers
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def test_what_was_never_started_is_closed_at_once() -> None:
    server = HttpServer(Starlette(), stop_seconds=1)
    await asyncio.wait_for(server.close(), 5)
    with pytest.raises(RuntimeError):
        _ = server.serving


async def test_a_signal_stops_the_server_and_does_not_end_the_process() -> None:
    server = HttpServer(Starlette(), stop_seconds=1)
    with stop_on_signals(server.stop):
        server.start("127.0.0.1", 0, SETTING)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(server.serving, 10)
    assert server.serving.done()
