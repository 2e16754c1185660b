"""When a system is healthy again: its parts say so, its stores have come to the log's end, and a like is acted on."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx
from aiokafka.errors import KafkaError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from contracts.marks import MarkName
from contracts.placement import shards_of_partition
from services.profiles.generations import Generations
from services.profiles.store import ProfileStore
from tests.support.agreement import ask
from tests.support.following import ends
from tests.support.system import PARTS, System, event
from tests.support.traffic import Batch, Guest
from tests.support.waiting import poll

LIMIT_S = 180.0
_AWAY = (RedisError, KafkaError, OSError, LookupError, httpx.TransportError, AssertionError, KeyError)
Ends = dict[MarkName, tuple[int, int]]
T = TypeVar("T")


@dataclass(frozen=True)
class Healed:
    """Seconds after the fault's end.

    Attributes:
        ready: every part says that it is ready.
        caught_up: Redis and ClickHouse have all that the log held when the parts were ready.
        healthy: a like of that moment is in the next playlist's profile and a row of the warehouse.
    """

    ready: float
    caught_up: float
    healthy: float


class Healer:
    """Looks at one system, with a listener of its own whose likes are in the ledger like everybody's."""

    def __init__(self, system: System, canary: Guest) -> None:
        self._system = system
        self._canary = canary

    def wait(self, began: float, pids: dict[str, int] | None = None) -> Healed:
        """Wait until the system is healthy. `pids`: parts that must run under another pid than this one.

        Raises AssertionError after 180 s, with what was still missing.
        """

        def seconds() -> float:
            return time.monotonic() - began

        self._until(lambda: all(self._is_back(name, (pids or {}).get(name)) for name in PARTS), "all parts are ready")
        ready = seconds()
        wanted = self._until(lambda: asyncio.run(ends(self._system.settings().kafka)), "the log tells its ends")
        self._until(lambda: asyncio.run(self._redis_has(wanted)), "Redis has come to the log's end")
        self._until(lambda: self._warehouse_has(wanted), "ClickHouse has come to the log's end")
        caught_up = seconds()
        self._like()
        return Healed(ready, caught_up, seconds())

    def _until(self, look: Callable[[], T], what: str) -> T:
        def quietly() -> T | None:
            try:
                return look()
            except _AWAY:
                return None

        try:
            found = poll(quietly, timeout=LIMIT_S, interval=0.1, what=what)
        except AssertionError as late:
            states = {name: part["state"] for name, part in self._system.status().get("parts", {}).items()}
            raise AssertionError(f"{late}; the parts are {states}") from late
        assert found is not None
        return found

    def _is_back(self, name: str, former: int | None) -> bool:
        found = self._system.part(name)
        return found["pid"] not in (former, None) and found["state"] == "ready" and self._system.ready(name)

    async def _redis_has(self, wanted: Ends) -> bool:
        async with Redis.from_url(self._system.settings().redis.url, socket_timeout=2) as redis:
            marks = await ProfileStore(redis, await Generations(redis).live()).marks()
        return all(
            marks[shard].get(name.field(), 0) >= end
            for name, (end, partitions) in wanted.items()
            for shard in shards_of_partition(name.partition, partitions)
        )

    def _warehouse_has(self, wanted: Ends) -> bool:
        marks = warehouse_marks(self._system)
        return all(marks.get(name, 0) >= end for name, (end, _) in wanted.items())

    def _like(self) -> None:
        one = event("liked", song_id="canary")
        answer = self._canary.post(Batch([one]))
        assert answer is not None
        self._until(lambda: self._canary.listener.playlist(answer["receipt"])["fresh"], "a playlist reflects a like")
        found = f"SELECT count() AS n FROM feedback WHERE event_id = '{one['event_id']}'"
        self._until(lambda: int(ask(self._system.settings(), found)[0]["n"]), "the like is a row")


def warehouse_marks(system: System) -> dict[MarkName, int]:
    """How far ClickHouse has come in each partition."""
    rows = ask(system.settings(), "SELECT topic_id, `partition` AS p, max(mark) AS m FROM marks GROUP BY topic_id, p")
    return {MarkName(row["topic_id"], int(row["p"])): int(row["m"]) for row in rows}
