"""The health of Kafka, Redis and ClickHouse. Each function may raise what the part's client raises."""

from typing import Any, Final

from redis.asyncio import Redis

from contracts.topics import DEAD_LETTERS, TOPICS
from services.common.process.clock import now_ms
from services.common.settings import KafkaSettings
from services.operator.dlq.log import read_dead_letters
from services.operator.dlq.model import OPEN
from services.operator.readers.clickhouse import ClickhouseReader
from services.operator.readers.log import admin, offsets
from services.operator.replay.lease import holder
from services.operator.status.model import ClickhouseHealth, DeadLetters, Gaps, LogHealth, RedisHealth
from services.profiles.generations import Generations

_HOUR_MS: Final = 3_600_000
_PARTS: Final = """
SELECT version() AS version, sum(n_rows) AS rows, sum(n) AS parts, max(n) AS most, sum(n_bytes) AS bytes
FROM (
    SELECT count() AS n, sum(rows) AS n_rows, sum(bytes_on_disk) AS n_bytes
    FROM system.parts WHERE active AND database = 'animusic' GROUP BY table
)
"""
_GAPS: Final = """
SELECT count() AS noted, sum(to_offset - from_offset) AS records,
    countIf(recorded_at > now64(3) - toIntervalHour({hours:UInt32})) AS recent,
    argMax(concat(topic, '/', toString(`partition`), ' offsets ', toString(from_offset), ' to ',
        toString(to_offset - 1)), recorded_at) AS last_gap
FROM animusic.gaps FINAL
"""
_SAVES: Final = ("rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status")


async def log_health(settings: KafkaSettings) -> LogHealth:
    """What the brokers say of themselves and of our topics."""
    async with admin(settings) as kafka:
        cluster, there = await kafka.describe_cluster(), set(await kafka.list_topics())
        ours = sorted({topic.name for topic in TOPICS} & there)
        described = await kafka.describe_topics(ours) if ours else []
    parts = [(f"{topic['topic']}/{part['partition']}", part) for topic in described for part in topic["partitions"]]
    return LogHealth(
        cluster=str(cluster.get("cluster_id") or ""),
        brokers=len(cluster["brokers"]),
        topics=len(ours),
        missing=sorted({topic.name for topic in TOPICS} - there),
        leaderless=[name for name, part in parts if part["leader"] < 0],
        under_replicated=[name for name, part in parts if len(part["isr"]) < len(part["replicas"])],
    )


async def dead_letters(settings: KafkaSettings, hours: int) -> DeadLetters:
    """The dead letters; those of the last `hours` are new."""
    known = list((await read_dead_letters(settings)).by_id.values())
    still_open = [dead_letter for dead_letter in known if dead_letter.state == OPEN]
    since = now_ms() - hours * _HOUR_MS
    last = max(still_open, key=lambda dead_letter: dead_letter.last.at, default=None)
    return DeadLetters(
        total=len(known),
        open=len(still_open),
        new=sum(dead_letter.last.found >= since for dead_letter in still_open),
        last_reason=f"{last.last.place}: {last.reason}" if last else "",
    )


async def dead_letters_at_most(settings: KafkaSettings) -> DeadLetters:
    """The same where there are too many to be read in time: their number, by the offsets."""
    number = (await offsets(settings, [DEAD_LETTERS.name])).records
    return DeadLetters(number, number, number, "too many to read; see `animusic dlq list`")


async def redis_health(redis: Redis) -> RedisHealth:
    """What the server says of itself, and which generation is live."""
    info: dict[str, Any] = await redis.info()
    rebuilder = await holder(redis)
    return RedisHealth(
        version=str(info.get("valkey_version") or info.get("redis_version", "")),
        pid=int(info.get("process_id", 0)),
        generation=await Generations(redis).live(unset=""),
        used_bytes=int(info.get("used_memory", 0)),
        limit_bytes=int(info.get("maxmemory", 0)),
        policy=str(info.get("maxmemory_policy", "noeviction")),
        append_only=bool(int(info.get("aof_enabled", 0))),
        loading=bool(int(info.get("loading", 0))),
        failing=[name for name in _SAVES if info.get(name, "ok") != "ok"],
        rebuild="" if rebuilder is None or rebuilder.is_dead() else f"{rebuilder}; {rebuilder.doing}",
    )


async def clickhouse_health(warehouse: ClickhouseReader, hours: int) -> ClickhouseHealth:
    """Rows, parts, size, and the gaps; those of the last `hours` are new."""
    (known,), (gaps,) = await warehouse.rows(_PARTS), await warehouse.rows(_GAPS, hours=hours)
    rows, parts, most, size = (int(known[name] or 0) for name in ("rows", "parts", "most", "bytes"))
    noted, records, new = (int(gaps[name] or 0) for name in ("noted", "records", "recent"))
    return ClickhouseHealth("", known["version"], rows, parts, most, size, Gaps(noted, records, new, gaps["last_gap"]))
