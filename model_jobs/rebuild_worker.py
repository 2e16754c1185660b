"""The model rebuild worker: it follows the catalogue topic and has stale models rebuilt.

So a new song reaches playlists without a restart. A vanished directory of vectors also triggers a rebuild: what
is live and lost is built again.

It only reads the topic's end offset. A rebuild reads the catalogue in a process of its own, so that this one
stays small. Nothing numeric may be imported here.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry, Counter, Gauge

from contracts.topics import CATALOGUE
from services.common.kafka import partition_ids
from services.common.settings import KafkaSettings

_log = logging.getLogger("animusic.watch")

# Rebuilds what is stale; None, or the sentence that says why it failed. Cancelled, it ends what it started.
Rebuild = Callable[[], Awaitable[str | None]]
# The names of the directories of vectors that are there now.
Shelf = Callable[[], frozenset[str]]

_POLL_SECONDS: Final = 0.5
_OUTAGE_SECONDS: Final = 1.0
# Waits after failures in a row; the last one repeats. A change of the catalogue does not shorten them.
BACKOFF_SECONDS: Final = (10.0, 30.0, 120.0, 600.0)


@dataclass(frozen=True)
class Pace:
    """When a rebuild begins: `quiet` seconds after the last change, `at_most` seconds after the first one."""

    quiet: float
    at_most: float


@dataclass
class Debounce:
    """Decides when a rebuild is due, from the topic's end offset. Pure: times are arguments, in seconds of any clock.

    Attributes:
        done: the end of the topic up to which models were rebuilt; None while that is unknown.
    """

    pace: Pace
    done: int | None = None
    _end: int | None = None
    _first: float = 0.0
    _last: float = 0.0
    _failures: int = 0
    _not_before: float = 0.0

    def see(self, end: int, now: float) -> None:
        """Note the topic's end."""
        if end == self._end:
            return
        if self._end is None or self._end == self.done:
            self._first = now
        # At the start, the time since the last change is unknown.
        self._last = now if self._end is not None else now - self.pace.quiet
        self._end = end

    def forget(self) -> None:
        """Make a rebuild due."""
        self.done = None

    @property
    def behind(self) -> bool:
        """Whether the catalogue has changed since the last rebuild."""
        return self._end is not None and self._end != self.done

    def due(self, now: float) -> bool:
        """Whether a rebuild should begin now."""
        settled = now - self._last >= self.pace.quiet or now - self._first >= self.pace.at_most
        return self.behind and settled and now >= self._not_before

    def rebuilt(self, end: int | None, now: float, *, failed: bool) -> None:
        """Note what became of the rebuild that began when the topic's end was `end`."""
        if failed:
            wait = BACKOFF_SECONDS[min(self._failures, len(BACKOFF_SECONDS) - 1)]
            self._failures, self._not_before = self._failures + 1, now + wait
            return
        self.done, self._failures, self._not_before, self._first = end, 0, 0.0, now

    @property
    def end(self) -> int | None:
        """How far the topic has come."""
        return self._end

    def waits(self, now: float) -> float:
        """Seconds until a failed rebuild is tried again."""
        return max(0.0, self._not_before - now)


class Watch:
    """Rebuilds when the catalogue has changed and is quiet. `trouble`: why it cannot follow now, None while it can."""

    def __init__(
        self,
        kafka: KafkaSettings,
        rebuild: Rebuild,
        pace: Pace,
        registry: CollectorRegistry,
        *,
        done: int | None = None,
        shelf: Shelf = frozenset,
    ) -> None:
        """`done`: the end of the catalogue topic that models are known to reflect; `shelf` is asked twice a second."""
        self._kafka = kafka
        self._rebuild = rebuild
        self._debounce = Debounce(pace, done)
        self._shelf = shelf
        self._seen = shelf()
        self.trouble: str | None = "has not asked the log yet"
        self._rebuilds = Counter(
            "animusic_models_watch_rebuilds", "rebuilds that a changed catalogue caused", ["outcome"], registry=registry
        )
        behind = Gauge("animusic_models_watch_behind", "1 while models lag the catalogue", registry=registry)
        behind.set_function(lambda: float(self._debounce.behind))

    async def run(self) -> None:
        """Watch until cancelled. An outage of the log is waited out, a rebuild that fails is tried again later."""
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError, LookupError) as fault:
                if self.trouble is None or str(fault) != self.trouble:
                    _log.warning("cannot follow %s, trying again: %s", CATALOGUE.name, fault)
                self.trouble = str(fault) or type(fault).__name__
                await asyncio.sleep(_OUTAGE_SECONDS)

    async def _follow(self) -> None:
        async with _asking(self._kafka) as end_of_topic:
            while True:
                self._debounce.see(await end_of_topic(), _now())
                self.trouble = None
                self._look_at_shelf()
                if self._debounce.due(_now()):
                    await self._pass()
                await asyncio.sleep(min(_POLL_SECONDS, self._debounce.pace.quiet))

    def _look_at_shelf(self) -> None:
        """A version that was pruned vanishes as well; then the rebuild finds nothing to do."""
        there = self._shelf()
        if gone := sorted(self._seen - there):
            _log.warning("vectors are gone: %s; building again what is live", ", ".join(gone))
            self._debounce.forget()
        self._seen = there

    async def _pass(self) -> None:
        end, began = self._debounce.end, _now()
        _log.info("the catalogue has come to offset %s; rebuilding what is stale", end)
        failure = await self._rebuild()
        self._debounce.rebuilt(end, _now(), failed=failure is not None)
        self._rebuilds.labels("done" if failure is None else "failed").inc()
        if failure is None:
            _log.info("models reflect the catalogue up to offset %s, after %.1f s", end, _now() - began)
        else:
            _log.error("%s. What is live stays; next try in %.0f s", failure, self._debounce.waits(_now()))


def _now() -> float:
    return asyncio.get_running_loop().time()


@contextlib.asynccontextmanager
async def _asking(kafka: KafkaSettings) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Asks for the topic's end: the offset that its next record will have. The catalogue has one partition."""
    partition = TopicPartition(CATALOGUE.name, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        await partition_ids(consumer, CATALOGUE.name)

        async def end() -> int:
            ends: dict[TopicPartition, int] = await consumer.end_offsets([partition])
            return ends[partition]

        yield end
    finally:
        await consumer.stop()
