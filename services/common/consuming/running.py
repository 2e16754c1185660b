"""A consumer as a process: signals, readiness, exit code."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry

from services.common.consuming.consumer import EX_TEMPFAIL, Consumer
from services.common.health import HealthServer
from services.common.process_identity import ProcessIdentity


class _Process:
    """What a signal stops: the consumer once there is one, else the way to it."""

    def __init__(self) -> None:
        self.consumer: Consumer[Any] | None = None
        self.starting: asyncio.Task[None] | None = None

    def stop(self) -> None:
        if self.consumer is not None:
            self.consumer.stop()
        if self.starting is not None:
            self.starting.cancel()

    def not_ready(self) -> str | None:
        return "starting" if self.consumer is None else self.consumer.not_ready()

    def standing(self) -> dict[str, Any]:
        return {} if self.consumer is None else self.consumer.standing()


async def run_until_signal(
    build: Callable[[], Awaitable[Consumer[Any]]],
    registry: CollectorRegistry,
    *,
    identity: ProcessIdentity,
    port: int,
    setting: str,
    outages: tuple[type[Exception], ...] = (),
) -> None:
    """Build, start and run a consumer, with /readyz and /metrics on `port`, until SIGTERM or SIGINT.

    `setting`: the variable that chooses the port. Raises CannotListen when it cannot be had.

    Raises SystemExit(75) when it cannot start for want of log or store (`outages`), or had to stop for it.
    """
    process = _Process()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, process.stop)
    health = HealthServer(identity, process.not_ready, registry, process.standing)
    log = logging.getLogger(f"animusic.{identity.service}")
    log.info("health and metrics on port %d", await health.start(port, setting))

    async def start() -> None:
        consumer = await build()
        process.consumer = consumer
        await consumer.start()

    try:
        process.starting = asyncio.create_task(start())
        with contextlib.suppress(asyncio.CancelledError):
            await process.starting
        process.starting = None
        if process.consumer is not None:
            await process.consumer.run()
    except (*outages, KafkaError, ConnectionError, LookupError) as error:
        log.critical("cannot start: %s", error)
        raise SystemExit(EX_TEMPFAIL) from error
    finally:
        await health.close()
