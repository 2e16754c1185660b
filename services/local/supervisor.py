"""Starts, fills, watches and stops the whole system on one machine."""

import asyncio
import os
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil
from rich.console import Console
from rich.markup import escape

from services.common.kafka import ensure_topics
from services.common.settings import Settings
from services.common.tables import print_table
from services.local.filling import check_catalogue, fill
from services.local.keeper import Keeper
from services.local.layout import Layout, installation_of, write_json
from services.local.logs import rotate
from services.local.parts import Part
from services.local.plan import Plan, managed_parts
from services.local.processes.children import reap_stale
from services.local.processes.kafka_jars import KafkaJars, default_cache_dir, kafka_jars
from services.local.processes.kafka_misplaced import leftover_sentence
from services.local.processes.valkey import lower_rewrites
from services.local.screen import Steps, curl_lines, table

READY_S: Final = 120.0
ROTATE_EVERY_S: Final = 30.0
LOOK_FOR_REWRITES_S: Final = 1.0
# The order of a stop: what writes to the log, what reads it, the stores.
STOP_ORDER: Final = (
    ("probe",),
    ("gateway", "watch"),
    ("profiles", "warehouse"),
    ("recommender",),
    ("kafka",),
    ("valkey",),
)


class Supervisor:
    """One run of the local system on a data directory that the caller holds (`locking.locked`)."""

    def __init__(self, settings: Settings, layout: Layout, console: Console) -> None:
        self._settings = settings
        self._layout = layout
        self._console = console
        self._keepers: list[Keeper] = []
        self._plan: Plan | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, print what runs, run until `stop` is set, and stop everything in order.

        Raises LocalError or ConnectionError when the start fails; then everything is stopped, too.
        """
        try:
            if await self._unless(stop, self._start()):
                await self._unless(stop, self._go_on())
        finally:
            await self._stop()

    def kill(self) -> None:
        """End every child at once, as a second Ctrl-C asks."""
        for keeper in self._keepers:
            keeper.kill()

    async def _unless(self, stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
        """Do the work unless `stop` is set first; returns whether it ended."""
        doing, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
            return doing.done()
        finally:
            doing.cancel()
            stopping.cancel()
            await asyncio.gather(doing, stopping, return_exceptions=True)

    # ---- starting ---------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        check_catalogue(self._settings)
        for name in reap_stale(self._layout.pids):
            self._say(f"stopped {name}, which an earlier run had left behind")
        self._plan = plan = Plan.of(self._settings, self._layout)
        with Steps(self._console) as steps:
            stores = await self._begin(await self._stores(plan, steps))
            await self._wait_for([store for store in stores if store.name != "kafka"], steps)
            # The services wait for a log that is starting, but not for topics that do not exist yet.
            services = await self._begin(plan.services()) if self._layout.contents.exists() else []
            await self._wait_for([store for store in stores if store.name == "kafka"], steps)
            with steps.step("topics", "making what is missing") as step:
                created = await ensure_topics(self._child_settings().kafka)
                step.done(f"{len(created)} created" if created else "all there")
            services = services or await self._begin(plan.services())
            await together(self._wait_for(services, steps), fill(self._child_settings(), self._layout, steps))
            # Playlists do not need these.
            await self._begin(plan.background())
            self._note_status()
        self._show(plan)

    async def _stores(self, plan: Plan, steps: Steps) -> list[Part]:
        kafka = plan.kafka(await self._jars(steps)) if plan.own_kafka else None
        valkey = plan.valkey() if plan.own_valkey else None
        if kafka is not None:
            await asyncio.to_thread(kafka.prepare)
            leftover = leftover_sentence(kafka.log_dir)
            if leftover is not None:
                self._say(leftover)
        write_json(self._layout.endpoints, plan.endpoints(kafka, valkey))
        return managed_parts(kafka, valkey)

    async def _jars(self, steps: Steps) -> KafkaJars:
        ready: Path | None = self._settings.local.kafka_jars_dir
        with steps.step("Kafka's jars", "looking") as step:
            jars = await asyncio.to_thread(
                kafka_jars,
                default_cache_dir(),
                jars_dir=ready,
                progress=lambda done, total, name: step.note(f"fetched {done} of {total} ({name})"),
            )
            step.done(f"in {jars.directory}")
        return jars

    async def _begin(self, parts: list[Part]) -> list[Keeper]:
        keepers = [Keeper(part, self._layout, self._say, self._note_status) for part in parts]
        self._keepers += keepers
        await together(*(keeper.start() for keeper in keepers))
        return keepers

    async def _wait_for(self, keepers: list[Keeper], steps: Steps) -> None:
        async def one(keeper: Keeper) -> None:
            with steps.step(keeper.name) as step:
                # Members of an older run that was killed leave their group when their session ends.
                await keeper.ready(READY_S + self._settings.kafka.session_seconds)
                step.done(f"ready at {keeper.part.address}")

        await together(*(one(keeper) for keeper in keepers))

    def _child_settings(self) -> Settings:
        """The settings of the children: with the addresses of this start."""
        return Settings(data_dir=self._layout.root)

    def _show(self, plan: Plan) -> None:
        self._console.print()
        print_table(table(self._keepers, os.getpid()), console=self._console)
        self._console.print("\nTry it:")
        for line in curl_lines(plan.url):
            print(f"  {line}", flush=True)
        logs = self._layout.log("*").parent
        pages = f"\nThe page: [bold]{plan.url}/[/bold]   API: {plan.url}/docs   logs: {escape(str(logs))}"
        self._console.print(pages, highlight=False, soft_wrap=True)
        self._console.print("Stop with Ctrl-C; the next start goes on from the same data.")

    # ---- running ----------------------------------------------------------------------------------------------------

    async def _go_on(self) -> None:
        await together(self._watch_logs(), self._lower_rewrites())

    async def _watch_logs(self) -> None:
        while True:
            await asyncio.sleep(ROTATE_EVERY_S)
            for keeper in self._keepers:
                rotate(self._layout.log(keeper.name))

    async def _lower_rewrites(self) -> None:
        while True:
            await asyncio.sleep(LOOK_FOR_REWRITES_S)
            for keeper in self._keepers:
                if keeper.name == "valkey" and keeper.pid is not None:
                    lower_rewrites(keeper.pid)

    def _say(self, text: str) -> None:
        self._console.print(f"{datetime.now(UTC):%H:%M:%S} {text}", highlight=False, soft_wrap=True, markup=False)

    def _note_status(self) -> None:
        """Write status.json: for `animusic run` on the same directory, for `animusic status`, for tests."""
        assert self._plan is not None
        parts = {
            keeper.name: {
                "state": keeper.state,
                "trouble": keeper.trouble,
                "pid": keeper.pid,
                "started": keeper.started,
                "restarts": keeper.restarts,
                "address": keeper.part.address,
            }
            for keeper in self._keepers
        }
        status = {
            "pid": os.getpid(),
            "started": psutil.Process().create_time(),
            "installation": installation_of(self._layout),
            "url": self._plan.url,
            "parts": parts,
        }
        write_json(self._layout.status, status)

    # ---- stopping ---------------------------------------------------------------------------------------------------

    async def _stop(self) -> None:
        """Stop in order, the parts of one rank together; then delete the status files."""
        if self._keepers:
            self._say("stopping")
        for rank in STOP_ORDER:
            keepers = [keeper for keeper in self._keepers if keeper.name.split("-")[0] in rank]
            await asyncio.gather(*(keeper.stop(self._settings.local.stop_seconds) for keeper in keepers))
        self._layout.endpoints.unlink(missing_ok=True)
        self._layout.status.unlink(missing_ok=True)
        if self._keepers:
            self._say("stopped")


async def together(*work: Coroutine[Any, Any, Any]) -> None:
    """Run all concurrently; the first error cancels the rest and is raised unwrapped."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
