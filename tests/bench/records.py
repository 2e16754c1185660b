"""What one record costs on its way through a rebuild and the ledger: CPU, in this process and in Valkey."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import TypeVar
from uuid import uuid4

import hiredis

from contracts.events import read_event
from contracts.ledger import digest_of
from contracts.marks import MarkName
from contracts.placement import SHARDS
from contracts.topics import FEEDBACK
from services.common.kafka.consuming.model import Assignment, DecodedRecord, Slice
from services.common.redis import connect
from services.common.settings import RedisSettings
from services.gateway.acknowledgements import AcknowledgementLedger
from services.gateway.partition_batcher import PendingAppend
from services.profiles.store import ProfileStore, arguments
from services.profiles.writes import Feedback, MergeCall, by_shard, calls_of, feedback_of
from services.warehouse.rebuild_status import RebuildRequest
from services.warehouse.sink import tables_of
from tests.bench.consumers import feedback
from tests.bench.machine import cpu_seconds
from tests.bench.report import Section, say
from tests.bench.stage import Stage
from tests.support.fetched import batch_of, records_of
from tests.support.stores import valkey_node

RECORDS, QUICK_RECORDS = 200_000, 20_000
LISTENERS = 10_000
HELD = (10, 100)
NAME = MarkName("0" * 32, 0)
FETCHED = 2_000
POSTS = (1, 10, 100)
T = TypeVar("T")
FRAME = RebuildRequest().hold_records


async def measure(stage: Stage) -> Section:
    """The section. Starts a Valkey by itself."""
    count = QUICK_RECORDS if stage.quick else RECORDS
    section = Section(
        "What a record costs",
        f"CPU for one of {count:,} feedback records of {LISTENERS:,} listeners, in one process, without Kafka. Few "
        "songs repeat per listener: the worst case for folding.",
    )
    values = [value for _, value in feedback(count, LISTENERS)]
    _add_fetching(section, values)
    effects = _add_reading(section, values)
    _add_folding(section, effects)
    with valkey_node(stage.directory / "records") as valkey:
        for share in HELD:
            await _add_store(section, effects, count * share // 100, valkey.url, valkey.pid or 0)
    _add_ledger_entries(section)
    return section


def _each(step: Callable[[], object], count: int) -> str:
    began = time.process_time()
    step()
    return f"{(time.process_time() - began) / count * 1e6:.1f} µs"


def _add_fetching(section: Section, values: Sequence[bytes]) -> None:
    say("taking records out of fetched batches")
    batches = [batch_of((b"u-1", value) for value in some) for some in _fetched(values)]
    each = _each(lambda: [list(records_of(batch)) for batch in batches], len(values))
    section.add("taken out of a fetched batch by aiokafka", each, "", f"{FETCHED:,} at a time")


def _add_reading(section: Section, values: Sequence[bytes]) -> list[Feedback]:
    say("reading")
    count = len(values)
    effects: list[Feedback] = []
    events = [read_event(value) for value in values]
    section.add("read and decoded by the contract", _each(lambda: [read_event(value) for value in values], count))
    section.add("… to what it stores", _each(lambda: effects.extend(map(feedback_of, events)), count))
    assignment, record = Assignment(NAME, FEEDBACK.name, 1), SimpleNamespace(offset=1, timestamp=1)
    frames = [
        Slice(assignment, at, at + FRAME, [DecodedRecord(record, event) for event in events[at : at + FRAME]])
        for at in range(0, count, FRAME)
    ]
    section.add("… into columns", _each(lambda: [tables_of([one]) for one in frames], count), "",
                f"{FRAME:,} at a time")  # fmt: skip
    return effects


def _add_folding(section: Section, effects: Sequence[Feedback]) -> None:
    say("folding")
    section.add("folded by listener", _each(lambda: by_shard(effects), len(effects)))
    calls = _calls(effects)

    def pack() -> None:
        for call in calls:
            keys, args = arguments("g2", call)
            hiredis.pack_command((b"EVALSHA", "0" * 40, len(keys), *keys, *args))

    section.add("packed as arguments of the script", _each(pack, len(effects)), "", f"{len(calls):,} calls")


def _fetched(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many at once as a worker gets from its client of Kafka."""
    return (values[at : at + FETCHED] for at in range(0, len(values), FETCHED))


def _calls(effects: Sequence[Feedback], after: int = 0, upto: int = 1) -> list[MergeCall]:
    return list(calls_of(NAME, after, upto, range(SHARDS), by_shard(effects)))


async def _add_store(section: Section, effects: Sequence[Feedback], batch: int, url: str, pid: int) -> None:
    say(f"merging, {batch:,} at a time")
    redis = connect(RedisSettings(url=url))
    store = ProfileStore(redis, f"held-{batch}")
    before, own = cpu_seconds({"valkey": pid})["valkey"], 0.0
    try:
        for at in range(0, len(effects), batch):
            calls, began = _calls(effects[at : at + batch], at, at + batch), time.process_time()
            await store.merge(calls)
            own += time.process_time() - began
    finally:
        await redis.aclose()
    used = cpu_seconds({"valkey": pid})["valkey"] - before
    each = f"{used / len(effects) * 1e6:.1f} µs"
    sent = f"{own / len(effects) * 1e6:.1f} µs of the sending process"
    section.add(f"merged into Valkey, {batch:,} records a flush", each, "", f"Valkey; {sent}")


def _add_ledger_entries(section: Section) -> None:
    say("ledger entries")
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for size in POSTS:
        ledger = AcknowledgementLedger("", _no_id, _no_append)
        ids = [uuid4().int for _ in range(size)]

        def record(ledger: AcknowledgementLedger = ledger, ids: Sequence[int] = ids) -> None:
            for number in range(5_000):
                pending = PendingAppend(b"u", [b"x"] * len(ids), 0, done, digest=digest_of(ids))
                ledger.record(0, [pending], number * len(ids))

        section.add(f"ledger entry of a post of {size}", _each(record, 5_000), "", "a post")


async def _no_id() -> str:
    raise RuntimeError("nothing is appended here")


async def _no_append(key: str, values: list[bytes], partition: int) -> object:
    raise RuntimeError("nothing is appended here")
