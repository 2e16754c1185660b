"""A load generator that costs little: keep-alive HTTP/1.1 on a bare protocol, requests made beforehand.

Its own CPU time is measured and stated apart, since on two cores it takes from what it measures.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast

import numpy as np

HOST = "127.0.0.1"


@dataclass
class Outcome:
    """What a run saw. Latencies in milliseconds, one a request, in order of completion."""

    latencies_ms: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    wall_seconds: float = 0.0
    generator_cpu_seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """Requests a second of wall time."""
        return len(self.latencies_ms) / self.wall_seconds

    def quantile(self, q: float) -> float:
        """A latency quantile in milliseconds, q in [0, 1]."""
        return float(np.quantile(self.latencies_ms, q))

    @property
    def generator_share(self) -> float:
        """CPU of the generator as a share of one core."""
        return self.generator_cpu_seconds / self.wall_seconds

    @property
    def errors(self) -> int:
        """Answers that were not 2xx."""
        return sum(count for status, count in self.statuses.items() if not 200 <= status < 300)


def request(method: str, path: str, body: bytes = b"", token: str | None = None) -> bytes:
    """The bytes of one HTTP/1.1 request to the gateway on loopback."""
    head = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", f"Content-Length: {len(body)}"]
    if body:
        head.append("Content-Type: application/json")
    if token:
        head.append(f"Authorization: Bearer {token}")
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


class _Answers(asyncio.Protocol):
    """One request under way at a time; its answer resolves the future."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _content_length(self._buffer[:end].lower())
        if len(self._buffer) < end + 4 + length or self.answer is None:
            return
        status, body = int(self._buffer[9:12]), self._buffer[end + 4 : end + 4 + length]
        self._buffer = b""
        if not self.answer.done():
            self.answer.set_result((status, body))

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(exc or ConnectionResetError("the server closed the connection"))


def _content_length(head: bytes) -> int:
    start = head.find(b"content-length:")
    if start < 0:
        return 0
    end = head.find(b"\r\n", start)
    return int(head[start + 15 : end if end >= 0 else len(head)])


class Connection:
    """One keep-alive connection; opened at its first request, and again when the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._protocol = _Answers()

    async def ask(self, raw: bytes) -> tuple[int, bytes]:
        """Send a request, return (status, body). Raises ConnectionError."""
        if self._protocol.transport is None or self._protocol.transport.is_closing():
            loop = asyncio.get_running_loop()
            _, self._protocol = await loop.create_connection(_Answers, HOST, self._port)
        protocol = self._protocol
        assert protocol.transport is not None
        protocol.answer = asyncio.get_running_loop().create_future()
        protocol.transport.write(raw)
        return await protocol.answer

    def close(self) -> None:
        """Hang up."""
        if self._protocol.transport is not None:
            self._protocol.transport.close()


async def ask_once(port: int, raw: bytes) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    connection = Connection(port)
    try:
        return await connection.ask(raw)
    finally:
        connection.close()


async def fire(
    port: int, requests: Iterable[bytes], clients: int, on_answer: Callable[[int, bytes], None] | None = None
) -> Outcome:
    """Send the requests over `clients` connections, each one request at a time; returns what was seen."""
    outcome, queue = Outcome(), iter(requests)
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(_client(port, queue, outcome, on_answer) for _ in range(clients)))
    outcome.wall_seconds = time.perf_counter() - began
    outcome.generator_cpu_seconds = time.process_time() - cpu
    return outcome


async def _client(
    port: int, queue: Iterator[bytes], outcome: Outcome, on_answer: Callable[[int, bytes], None] | None
) -> None:
    connection = Connection(port)
    try:
        for raw in queue:
            began = time.perf_counter()
            status, body = await connection.ask(raw)
            outcome.latencies_ms.append((time.perf_counter() - began) * 1000)
            outcome.statuses[status] = outcome.statuses.get(status, 0) + 1
            if on_answer is not None:
                on_answer(status, body)
    finally:
        connection.close()
