"""A load generator that costs little: keep-alive HTTP/1.1 over raw streams, requests made beforehand.

Its own CPU time is measured and stated apart, since on two cores it takes from what it measures.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np


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


def request(method: str, path: str, body: bytes = b"", token: str | None = None) -> bytes:
    """The bytes of one HTTP/1.1 request to the gateway on loopback."""
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    if body:
        head.append("Content-Type: application/json")
    if token:
        head.append(f"Authorization: Bearer {token}")
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


class Connection:
    """One keep-alive connection."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, raw: bytes) -> tuple[int, bytes]:
        """Send a request, return (status, body)."""
        if self._writer is None or self._writer.is_closing():
            self._reader, self._writer = await asyncio.open_connection(*self._address)
        assert self._reader is not None
        self._writer.write(raw)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        start = lower.index(b"content-length:") + 15
        length = int(lower[start : lower.index(b"\r\n", start)])
        return int(head[9:12]), await self._reader.readexactly(length)

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()


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
    connection = Connection("127.0.0.1", port)
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
