"""How Redis and ClickHouse are, and their marks. Each call ends within the given seconds, whatever the store does."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
from redis.asyncio import Redis

from contracts.marks import MarkName
from contracts.placement import SHARDS, shards_of_partition
from services.common.settings import ClickhouseSettings, RedisSettings
from services.operator.replay.lease import holder
from services.operator.status.model import ClickhouseHealth, Gaps, RedisHealth
from services.operator.status.sampling import LogSample
from services.profiles.generations import Generations
from services.profiles.store import ProfileStore

_PARTS = (
    "SELECT sum(rows), count(), sum(bytes_on_disk), (SELECT max(n) FROM (SELECT count() AS n FROM system.parts "
    "WHERE active AND database = 'animusic' GROUP BY table)), version() "
    "FROM system.parts WHERE active AND database = 'animusic'"
)
_GAPS = (
    "SELECT count(), sum(to_offset - from_offset), countIf(recorded_at > now64(3) - toIntervalHour({hours:UInt32})), "
    "argMax(concat(topic, '/', toString(`partition`), ' offsets ', toString(from_offset), ' to ', "
    "toString(to_offset - 1)), recorded_at) FROM animusic.gaps FINAL"
)
_MARKS = "SELECT topic_id, `partition`, mark FROM animusic.marks_clean"
_SAVES = ("rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status")


class RedisProbe:
    """The store of profiles. Every method may raise redis.exceptions.RedisError or OSError."""

    def __init__(self, settings: RedisSettings, seconds: float) -> None:
        self._redis = Redis.from_url(settings.url, socket_timeout=seconds, socket_connect_timeout=seconds)

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._redis.aclose()

    async def health(self) -> RedisHealth:
        """What the server says of itself, and which generation is live."""
        info: dict[str, Any] = await self._redis.info()
        failing = [name for name in _SAVES if info.get(name, "ok") != "ok"]
        rebuilder = await holder(self._redis)
        return RedisHealth(
            version=str(info.get("valkey_version") or info.get("redis_version", "")),
            pid=int(info.get("process_id", 0)),
            generation=await Generations(self._redis).live(unset=""),
            used_bytes=int(info.get("used_memory", 0)),
            limit_bytes=int(info.get("maxmemory", 0)),
            policy=str(info.get("maxmemory_policy", "noeviction")),
            append_only=bool(int(info.get("aof_enabled", 0))),
            loading=bool(int(info.get("loading", 0))),
            failing=failing,
            rebuild="" if rebuilder is None or rebuilder.is_dead() else f"{rebuilder}; {rebuilder.doing}",
        )

    async def marks(self, log: LogSample) -> dict[MarkName, int]:
        """The live generation's marks: the lowest of the shards that a partition holds; a shard without one is none."""
        stored = await ProfileStore(self._redis, await Generations(self._redis).live()).marks()
        return lowest(stored, log)


def lowest(stored: Sequence[dict[str, int]], log: LogSample) -> dict[MarkName, int]:
    """Shard -> marks becomes partition -> mark, where every shard of the partition has one."""
    found: dict[MarkName, int] = {}
    for topic, partition in log.ends:
        name = MarkName(log.ids[topic], partition)
        shards = set(shards_of_partition(partition, log.partitions(topic)))
        shards |= {shard for shard in range(SHARDS) if name.field() in stored[shard]}
        marks = [stored[shard].get(name.field()) for shard in shards]
        if marks and None not in marks:
            found[name] = min(mark for mark in marks if mark is not None)
    return found


class ClickhouseProbe:
    """The warehouse over HTTP, its own endpoint or a server. Every method may raise httpx.HTTPError or ValueError."""

    def __init__(self, settings: ClickhouseSettings, seconds: float) -> None:
        parts = urlsplit(settings.dsn)
        scheme = "https" if parts.scheme in ("https", "clickhouses") else "http"
        # Reading the system's certificates takes longer than the whole question.
        base_url = urlunsplit((scheme, parts.netloc, "/", "", ""))
        self._client = httpx.AsyncClient(base_url=base_url, timeout=seconds, verify=scheme == "https")

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._client.aclose()

    async def health(self, hours: int) -> ClickhouseHealth:
        """Rows, parts, size, and the gaps of which `hours` tell the new ones."""
        (rows, parts, size, most, version), *_ = await self._ask(_PARTS)
        (noted, records, new, last), *_ = await self._ask(_GAPS, hours=hours)
        gaps = Gaps(int(noted), int(records or 0), int(new), last if int(noted) else "")
        rows, parts, most, size = (int(number or 0) for number in (rows, parts, most, size))
        return ClickhouseHealth("", str(version), rows, parts, most, size, gaps)

    async def marks(self) -> dict[MarkName, int]:
        """How far the tables reach."""
        return {MarkName(topic_id, int(number)): int(mark) for topic_id, number, mark in await self._ask(_MARKS)}

    async def _ask(self, statement: str, **parameters: object) -> list[list[Any]]:
        params = {"default_format": "JSONCompact", **{f"param_{name}": str(v) for name, v in parameters.items()}}
        answer = await self._client.post("/", params=params, content=statement)
        if answer.is_error:
            raise ValueError(answer.text.strip().splitlines()[0] if answer.text.strip() else str(answer.status_code))
        rows: list[list[Any]] = answer.json()["data"]
        return rows
