"""One worker's reader, with a sink of its own: it follows the log, stops at limits, and goes on from the marks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from contracts.marks import MarkName
from contracts.topics import FEEDBACK, PROFILES
from services.common.kafka.consuming.model import Assignment, FlushResult, Poison, Record, Slice
from services.common.settings import KafkaSettings
from services.rebuild.job import Job
from services.rebuild.planning import planned
from services.rebuild.reading import Reader
from tests.support.following import producing, put
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected


class Memory:
    """A store in memory that follows the log: values in the order in which they came, and marks."""

    step = "memory"
    outages: tuple[type[Exception], ...] = ()

    def __init__(self) -> None:
        self.stored: dict[MarkName, int] = {}
        self.values: list[bytes] = []
        self.flushes = 0

    def decode(self, record: Record) -> bytes | Poison:
        return Poison("bad") if record.value == b"bad" else record.value

    async def marks(self, assignments: Sequence[Assignment]) -> dict[MarkName, int | None]:
        return {assignment.name: self.stored.get(assignment.name) for assignment in assignments}

    async def flush(self, slices: Sequence[Slice[bytes]]) -> FlushResult:
        self.flushes += 1
        refused = {}
        for part in slices:
            name = part.assignment.name
            if self.stored.get(name, 0) < part.after:
                refused[name] = self.stored.get(name)
                continue
            self.values += [item.value for item in part.items]
            self.stored[name] = part.upto
        return FlushResult(refused)


async def job(log: KafkaSettings, **changes: object) -> Job:
    """Feedback and profiles, read into the sink that a test gives by itself."""
    plan = await planned(log, (FEEDBACK.name, PROFILES.name))
    return Job(kafka=log, sink="", options={}, partitions=plan.partitions, hold_records=100).model_copy(update=changes)


@asynccontextmanager
async def reading(job: Job, sink: Memory) -> AsyncIterator[Reader[bytes]]:
    """A reader at work; it is stopped with the block."""
    reader = Reader(job, sink)
    running = asyncio.create_task(reader.run())
    try:
        yield reader
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def put_numbers(log: KafkaSettings, first: int, upto: int) -> None:
    async with producing(log) as to:
        for number in range(first, upto):
            await put(to, FEEDBACK.name, f"u{number}", b"%d" % number)


async def test_it_follows_the_log_and_goes_on_from_the_marks(log: KafkaSettings):
    sink = Memory()
    await put_numbers(log, 0, 250)

    async def has(count: int) -> bool:
        return len(sink.values) == count

    async with reading(await job(log), sink):
        await apoll(lambda: has(250), what="the log is in the store")
        await put_numbers(log, 250, 300)
        await apoll(lambda: has(300), what="what came later is in the store, too")
    assert set(map(int, sink.values)) == set(range(300))
    async with reading(await job(log), sink) as reader:
        await put_numbers(log, 300, 310)
        await apoll(lambda: has(310), what="another reader goes on from the marks")
        assert reader.report().records == 10
    # Every partition has a mark, also where there is nothing to read.
    assert sink.stored.keys() == {p.assignment.name for p in (await job(log)).partitions}


async def test_it_reads_to_its_limits_and_no_further(log: KafkaSettings):
    sink, numbers = Memory(), 200
    await put_numbers(log, 0, numbers)
    whole = await job(log)
    half = {p.field: p.end // 2 for p in whole.partitions}
    await Reader(whole.model_copy(update={"limits": half}), sink).run(follow=False)
    assert {name.field(): mark for name, mark in sink.stored.items()} == half
    assert len(sink.values) == sum(half.values())
    async with reading(whole.model_copy(update={"limits": half}), sink) as reader:
        reader.limit({p.field: p.end for p in whole.partitions})

        async def rest() -> bool:
            return len(sink.values) == numbers

        await apoll(rest, what="new limits let it go on")


async def test_what_cannot_be_read_is_counted_and_the_pace_is_kept(log: KafkaSettings):
    sink = Memory()
    async with producing(log) as to:
        for number in range(60):
            await put(to, FEEDBACK.name, "u", b"bad" if number % 3 == 0 else b"good")
    whole = await job(log, rate=20.0)
    limits = {p.field: p.end for p in whole.partitions}
    reader = Reader(whole.model_copy(update={"limits": limits}), sink)
    await reader.run(follow=False)
    assert (reader.report().records, reader.report().poison) == (60, 20)
    assert sink.values == [b"good"] * 40
    # No flush is of more than a second's records.
    assert sink.flushes >= 3


async def test_a_store_that_was_wiped_is_filled_again(log: KafkaSettings):
    sink = Memory()
    await put_numbers(log, 0, 50)

    async def has_all() -> bool:
        return set(map(int, sink.values)) == set(range(60))

    async def has_some() -> bool:
        return len(sink.values) == 50

    async with reading(await job(log), sink):
        await apoll(has_some, what="the log is in the store")
        sink.stored.clear()
        sink.values.clear()
        await put_numbers(log, 0, 60)
        await apoll(has_all, what="all of it is there again")
