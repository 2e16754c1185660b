"""A consumer as a process: signals, readiness, exit code."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry

from services.common.http.server import HealthServer
from services.common.kafka.consuming.consumer import EX_TEMPFAIL, Consumer
from services.common.process.identity import ProcessIdentity


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
    # The consumer, once it is built.
    made: list[Consumer[Any]] = []

    health = HealthServer(
        identity, lambda: made[0].not_ready() if made else "starting", registry,
        lambda: made[0].health_details() if made else {},
    )  # fmt: skip
    log = logging.getLogger(f"animusic.{identity.service}")
    log.info("health and metrics on port %d", await health.start(port, setting))

    async def start() -> None:
        made.append(await build())
        await made[0].start()

    starting = asyncio.create_task(start())

    def stop() -> None:
        starting.cancel()
        for consumer in made:
            consumer.stop()

    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        for consumer in made:
            await consumer.run()
    except (*outages, KafkaError, ConnectionError, LookupError) as error:
        log.critical("cannot start: %s", error)
        raise SystemExit(EX_TEMPFAIL) from error
    finally:
        await health.close()
