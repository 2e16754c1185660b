"""A log with something of everything in it, and what follows from a log, for tests of backup and restore."""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from contracts.events import FeedbackEvent
from contracts.topics import CATALOGUE, DEAD_LETTERS, FEEDBACK, PLAYLISTS, PROFILES, TOPICS
from services.common.clickhouse import ChdbConnection
from services.common.kafka import read_to_end
from services.common.settings import KafkaSettings
from services.warehouse.sink import TOPICS as CONSUMED
from tests.support.following import ends, producing, put, put_events, warehousing
from tests.support.histories import BASE_MS, histories
from tests.support.waiting import apoll
from tests.unit.profiles.test_writes import FORGOTTEN, LIST, encoded, playlist

NAMES = tuple(topic.name for topic in TOPICS)
USERS = 40
Record = tuple[int, int, bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]


class Silent:
    """A progress bar that shows nothing and remembers where it was; `stop_at` ends the job there, like a kill."""

    def __init__(self, stop_at: int | None = None, during: Callable[[], None] = lambda: None) -> None:
        self.stop_at = stop_at
        self.during = during
        self.shown: dict[str, int] = {}

    @contextlib.contextmanager
    def __call__(self, what: str, total: int, unit: str, /) -> Iterator[Callable[[int], None]]:
        def advance_to(step: int) -> None:
            self.shown[what] = step
            if what != "check the files":
                self.during()
                if self.stop_at is not None and step >= self.stop_at:
                    raise InterruptedError(f"stopped at {step}")

        yield advance_to


async def fill(log: KafkaSettings, *, rounds: int = 60, seed: int = 5) -> None:
    """Feedback with duplicates, lists that replace each other, a forgotten user, playlists, poison, odd records."""
    rng = random.Random(seed)
    async with producing(log) as to:
        events = [event for history in histories(seed, rounds) for event in history.events]
        await put_events(to, events)
        for number in range(USERS):
            user = f"list-{seed}-{number}"
            for mal_id in (rng.randint(1, 90_000), rng.randint(1, 90_000)):
                await put(to, PROFILES.name, user, encoded({**LIST, "user_id": user, "entries": [{"mal_id": mal_id}]}))
        gone = events[0].user_id
        await put(to, PROFILES.name, gone, encoded({**FORGOTTEN, "user_id": gone}))
        for number in range(20):
            await put(to, PLAYLISTS.name, "u", playlist(number, BASE_MS + number, "ab").log_value())
        await put_odd(to)


async def put_odd(to: AIOKafkaProducer) -> None:
    """Records that a copy could easily spoil: no key, no value, poison, doubled headers, times that go back."""
    await to.send_and_wait(FEEDBACK.name, b"poison", partition=1, timestamp_ms=BASE_MS)
    headers = [("a", b"1"), ("a", b"\xff\x00"), ("b", b"")]
    await to.send_and_wait(FEEDBACK.name, b"{}", key=b"k", partition=1, timestamp_ms=5, headers=headers)
    await to.send_and_wait(CATALOGUE.name, None, key=b"gone", partition=0, timestamp_ms=BASE_MS + 7)
    await to.send_and_wait(DEAD_LETTERS.name, b"x" * 200_000, key=b"", partition=0)


async def records(log: KafkaSettings, topics: Sequence[str] = NAMES) -> dict[tuple[str, int], list[Record]]:
    """Every record of a log: (topic, partition) -> (offset, timestamp, key, value, headers) in order."""
    found: dict[tuple[str, int], list[Record]] = {}
    for topic in topics:
        async for batch in read_to_end(log, topic):
            for r in batch:
                held = found.setdefault((topic, r.partition), [])
                held.append((r.offset, r.timestamp, r.key, r.value, tuple(r.headers)))
    return found


def without_offsets(found: dict[tuple[str, int], list[Record]]) -> dict[tuple[str, int], list[Any]]:
    """The same records; where they lie is left out."""
    return {place: [record[1:] for record in held] for place, held in found.items()}


async def emptied(settings: KafkaSettings) -> None:
    """Delete every topic of ours, and wait until they are gone."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        old = set(NAMES) & set(await admin.list_topics())
        if old:
            await admin.delete_topics(sorted(old))

        async def gone() -> bool:
            return not set(NAMES) & set(await admin.list_topics())

        await apoll(gone, timeout=30, what="old topics are gone")
    finally:
        await admin.close()


async def in_warehouse(log: KafkaSettings, clickhouse: ChdbConnection) -> dict[str, tuple[int, int]]:
    """Let the warehouse's consumer follow a log to its end: table or view -> (rows, digest of them in any order)."""
    wanted = {(name.topic_id, name.partition): end for name, (end, _) in (await ends(log)).items() if end}

    async def there() -> bool:
        rows = clickhouse.query("SELECT topic_id, `partition`, max(mark) AS m FROM animusic.marks GROUP BY ALL")
        marks = {(row["topic_id"], row["partition"]): row["m"] for row in rows.to_pylist()}
        return all(marks.get(place, 0) >= end for place, end in wanted.items())

    async with warehousing(log, clickhouse, CONSUMED):
        await apoll(there, timeout=40, what="the warehouse is at the end of the log")
    return {name: _digest(clickhouse, name) for name in ("registers", "vetoes", "played", "slot_outcomes")} | {
        name: _digest(clickhouse, name, "EXCEPT (topic_id, inserted_at)")
        for name in ("feedback_clean", "playlists_clean", "gaps")
        if name != "gaps"
    }


def _digest(clickhouse: ChdbConnection, name: str, columns: str = "") -> tuple[int, int]:
    final = "" if name.endswith("_clean") else "FINAL"
    kept = columns.replace("inserted_at", "served_at") if name == "playlists_clean" else columns
    rows = clickhouse.query(
        f"SELECT count() AS rows, sum(cityHash64(toString(tuple(*)))) AS digest "
        f"FROM (SELECT * {kept} FROM animusic.{name} {final})"
    ).to_pylist()
    return rows[0]["rows"], rows[0]["digest"]


def events_of(seed: int, rounds: int) -> list[FeedbackEvent]:
    """The events of `fill`."""
    return [event for history in histories(seed, rounds) for event in history.events]
