"""The state of Kafka, Redis and ClickHouse, and the lag of the stores by their own high-water marks.

Each function may raise what the store's client raises.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from redis.asyncio import Redis

from contracts.marks import MarkName
from contracts.topics import (
    CATALOGUE,
    DEAD_LETTERS,
    FEEDBACK,
    LEDGER,
    MODEL_BUILDS,
    MODELS,
    PLAYLISTS,
    PROFILES,
    TOPICS,
)
from services.common.process.clock import now_ms
from services.common.settings import KafkaSettings
from services.operator.dlq.log import read_dead_letters
from services.operator.dlq.model import OPEN
from services.operator.readers.clickhouse import ClickhouseReader
from services.operator.readers.log import Offsets, admin, offsets
from services.operator.replay.lease import holder
from services.operator.status.model import ClickhouseHealth, DeadLetters, Gaps, Lag, LogHealth, RedisHealth
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
    """The state of the brokers and of our topics."""
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
    """The number of dead letters by offsets, where there are too many to read in time."""
    number = (await offsets(settings, [DEAD_LETTERS.name])).records
    return DeadLetters(number, number, number, "too many to read; see `animusic dlq list`")


async def redis_health(redis: Redis) -> RedisHealth:
    """The state of the server, and the live generation."""
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


# What each store follows; a test holds this equal to what the services themselves say.
_PROFILES: Final = (FEEDBACK.name, PROFILES.name, PLAYLISTS.name)
FOLLOWED: Final[dict[str, tuple[str, ...]]] = {
    "profiles": _PROFILES,
    "warehouse": (*_PROFILES, CATALOGUE.name, MODELS.name, MODEL_BUILDS.name, LEDGER.name),
}


@dataclass(frozen=True)
class Sample:
    """The log, and each store's marks by name; a store that did not answer is missing from `marks`."""

    log: Offsets
    marks: dict[str, Mapping[MarkName, int]] = field(default_factory=dict)


async def committed(settings: KafkaSettings, groups: Mapping[str, str]) -> dict[str, dict[TopicPartition, int]]:
    """The committed offsets of each store's group; a group that Kafka does not know is left out."""
    found = {}
    async with admin(settings) as kafka:
        for store, group in groups.items():
            try:
                offsets = await kafka.list_consumer_group_offsets(group)
            except KafkaError:
                continue
            found[store] = {
                tp: committed_offset.offset for tp, committed_offset in offsets.items() if committed_offset.offset >= 0
            }
    return found


def lags(
    sample: Sample,
    groups: Mapping[str, str],
    *,
    before: Sample | None = None,
    committed: Mapping[str, Mapping[TopicPartition, int]] | None = None,
    timestamps: Mapping[str, Mapping[TopicPartition, int]] | None = None,
    now: int = 0,
) -> list[Lag]:
    """One Lag for each partition that a store follows.

    `groups`: store -> group; `before`: an earlier sample, for rates; `timestamps`: store -> partition -> time of the
    record at the mark, ms, as `now` is.
    """
    found = []
    for store, marks in sample.marks.items():
        for tp, end in sorted(sample.log.ends.items()):
            if tp.topic not in FOLLOWED[store]:
                continue
            mark = marks.get(sample.log.mark(tp))
            lag = sample.log.lag(tp, mark)
            at = (timestamps or {}).get(store, {}).get(tp) if lag else None
            committed_offset = (committed or {}).get(store, {}).get(tp)
            age = None if at is None else max(0.0, (now - at) / 1000)
            rates = _rates(before, sample, store, tp)
            found.append(
                Lag(store, groups[store], tp.topic, tp.partition, end, mark, committed_offset, lag, *rates, age)
            )
    return found


def _rates(before: Sample | None, after: Sample, store: str, tp: TopicPartition) -> tuple[float | None, float | None]:
    """Records a second between two samples of one topic: of the log, and of the store."""
    if before is None or tp not in before.log.ends or before.log.mark(tp) != after.log.mark(tp):
        return None, None
    seconds = max(after.log.at - before.log.at, 1e-3)
    old, new = (sample.marks.get(store, {}).get(after.log.mark(tp)) for sample in (before, after))
    handled = None if old is None or new is None else max(0.0, (new - old) / seconds)
    return max(0.0, (after.log.ends[tp] - before.log.ends[tp]) / seconds), handled
