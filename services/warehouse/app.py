"""The composition root of `animusic serve warehouse`."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from typing import Any, Final

from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from services.common.clickhouse import ChdbEngine, Clickhouse, ClickhouseError, ClickhouseServer
from services.common.http.server import HttpServer
from services.common.kafka.consuming.consumer import EX_TEMPFAIL, Consumer
from services.common.process.identity import ProcessIdentity
from services.common.process.startup import lower_priority, without_pandas
from services.common.settings import Settings
from services.warehouse.analysts import Analysts
from services.warehouse.endpoint import Endpoint
from services.warehouse.migrations import migrate
from services.warehouse.rebuild import Rebuilds
from services.warehouse.rebuild_route import RebuildRoute
from services.warehouse.rebuild_tables import finish_switch
from services.warehouse.sink import TOPICS, Value, WarehouseSink

_log = logging.getLogger("animusic.warehouse")

_STOP_SECONDS: Final = 2


async def serve(settings: Settings) -> None:
    """Follow the log into ClickHouse and answer analysts until SIGTERM or SIGINT; then flush and return.

    Raises SystemExit(75) when the store or the log stays away too long or anything unknown happens: start it again.
    """
    without_pandas()
    # Listeners wait for the log and for profiles on the same processors; the engine merges whenever it likes.
    lower_priority(settings.warehouse.nice)
    warehouse = Warehouse(settings)
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, warehouse.stop)
    try:
        await warehouse.run()
    except (ClickhouseError, KafkaError, ConnectionError, LookupError) as error:
        _log.critical("cannot start: %s", error)
        raise SystemExit(EX_TEMPFAIL) from error
    finally:
        await warehouse.close()


class Warehouse:
    """The parts of the service: engine, migrations, consumer, endpoint."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._consumer: Consumer[Value] | None = None
        self._clickhouse: Clickhouse | None = None
        self._analysts: Analysts | None = None
        self._http: HttpServer | None = None
        self._starting: asyncio.Task[None] | None = None
        self._route = RebuildRoute(settings.signing_key)

    def stop(self) -> None:
        """Ask for the end; `run` then returns."""
        if self._consumer is not None:
            self._consumer.stop()
        if self._starting is not None:
            self._starting.cancel()

    async def run(self) -> None:
        """Start everything, and consume until `stop`. The endpoint answers before the log is reached."""
        self._starting = asyncio.create_task(self._start())
        with contextlib.suppress(asyncio.CancelledError):
            await self._starting
        self._starting = None
        if self._consumer is not None:
            await self._consumer.run()

    async def close(self) -> None:
        """Stop answering and close the engine."""
        if self._route.rebuilds is not None:
            await self._route.rebuilds.stop()
        if self._http is not None:
            await self._http.close()
        if self._analysts is not None:
            await asyncio.to_thread(self._analysts.close)
        if self._clickhouse is not None:
            await asyncio.to_thread(self._clickhouse.close)

    async def _start(self) -> None:
        settings = self._settings
        connect = self._connector()
        self._clickhouse = await asyncio.to_thread(connect)
        await asyncio.to_thread(migrate, self._clickhouse)
        await asyncio.to_thread(finish_switch, self._clickhouse)
        endpoint = Endpoint(
            self._analysts,
            ProcessIdentity.of("warehouse", settings),
            self._registry,
            self._not_ready,
            host=settings.warehouse.host,
            server_address=settings.clickhouse.dsn.rpartition("@")[2],
            details=self._health_details,
            admin=self._route.routes(),
        )
        self._http = HttpServer(endpoint.app(), stop_seconds=_STOP_SECONDS)
        host = settings.warehouse.host
        port = self._http.start(host, settings.warehouse.port, "ANIMUSIC_WAREHOUSE__PORT")
        _log.info("SQL, health and metrics on http://%s:%d", host, port)
        sink = WarehouseSink(self._clickhouse)
        self._route.rebuilds = Rebuilds(settings.kafka, sink, connect)
        self._consumer = Consumer(
            settings.kafka, sink, TOPICS, self._registry,
            group=settings.warehouse.group, max_records=settings.warehouse.batch_records,
            hold_seconds=settings.warehouse.flush_ms / 1_000,
        )  # fmt: skip
        await self._consumer.start()

    def _connector(self) -> Callable[[], Clickhouse]:
        """Makes connections: to the server, or to the engine of this process."""
        settings = self._settings
        if settings.clickhouse.external:
            return lambda: ClickhouseServer(settings.clickhouse.dsn)
        engine = ChdbEngine(settings.data_dir / "clickhouse", settings.warehouse.engine_memory_mb)
        self._analysts = Analysts(engine, settings.warehouse)
        return engine.connect

    def _not_ready(self) -> str | None:
        return "starting" if self._consumer is None else self._consumer.not_ready()

    def _health_details(self) -> dict[str, Any]:
        details = {} if self._consumer is None else self._consumer.health_details()
        doing = "" if self._route.rebuilds is None else self._route.rebuilds.doing()
        return {**details, "rebuild": doing} if doing else details
