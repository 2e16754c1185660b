"""The parts of a rebuild that start nothing: bounds, partitions by worker, reading into a sink, script calls."""

import socket
from collections.abc import Sequence
from types import SimpleNamespace

import psutil
import pytest
from aiokafka import TopicPartition
from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.fold import Stored, fold, stored_fields
from contracts.marks import MarkName
from contracts.placement import shard_of
from services.common.kafka.consuming.model import Assignment, FlushResult, Poison, Record, Slice, Unflushable
from services.common.kafka.consuming.positions import Position
from services.common.settings import KafkaSettings, Settings
from services.local.processes.ports import free_port
from services.operator.replay.lease import Holder
from services.operator.replay.profiles import Rebuild, RebuildOptions
from services.profiles.shards import PartitionShards
from services.profiles.store import FIELDS_A_PIPELINE, pipelines
from services.profiles.writes import (
    FIELDS_A_CALL,
    HISTORY_LISTS,
    MOVES_NO_MARK,
    Feedback,
    Served,
    ShardWrites,
    by_shard,
    calls_of,
    feedback_of,
)
from services.rebuild.engine import Progress, Rate, reached
from services.rebuild.job import Job, Partition
from services.rebuild.planning import bound_of
from services.rebuild.reading import Reader
from services.rebuild.workers import Workers, partitioned
from tests.support.histories import histories
from tests.support.waiting import apoll

NAME = MarkName("a" * 32, 3)


def test_bounds_are_edges_times_or_offsets():
    assert bound_of("earliest", "earliest").is_edge
    assert bound_of(None, "latest").is_edge
    assert bound_of("2026-05-01T12:00", "latest").time == 1_777_636_800_000
    assert bound_of("2026-05-01T14:00+02:00", "latest").time == 1_777_636_800_000
    offsets = bound_of("animusic.feedback.v1/0=12, animusic.playlists.v1/7=0", "earliest").offsets
    assert offsets == {("animusic.feedback.v1", 0): 12, ("animusic.playlists.v1", 7): 0}


@pytest.mark.parametrize("text", ["yesterday", "feedback/0=1", "animusic.feedback.v1/x=1", "animusic.feedback.v1/0="])
def test_a_place_that_cannot_be_read_says_what_can(text: str):
    with pytest.raises(ValueError, match="like 2026-05-01T12:00"):
        bound_of(text, "earliest")


def test_a_part_of_the_log_cannot_be_switched_to():
    rebuild = Rebuild.__new__(Rebuild)
    rebuild._options = RebuildOptions(since=bound_of("2026-05-01", "earliest"))
    with pytest.raises(ValueError, match="--keep"):
        rebuild._check()
    rebuild._options = RebuildOptions(generation="{x}:")
    with pytest.raises(ValueError, match="no name for a generation"):
        rebuild._check()


PART = Partition(topic="t", topic_id="a" * 32, partition=3, partitions=8)


async def nothing(blocks: list[tuple[str, bytes]]) -> int:
    raise AssertionError(blocks)


async def test_a_worker_that_cannot_begin_says_why():
    port = free_port()
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{port}")
    job = Job(kafka=kafka, sink="tests.unit.rebuild.test_rebuild_parts:keeping", options={}, partitions=(PART,),
              hold_records=10)  # fmt: skip
    async with Workers(job, 1, nothing) as workers:

        async def ended() -> bool:
            try:
                workers.report()
            except RuntimeError as error:
                assert str(port) in str(error)
                return True
            return False

        await apoll(ended, timeout=60, what="it could not reach the log")


def test_partitions_are_dealt_out_about_equally_and_no_worker_has_none():
    sizes = [900, 100, 100, 100, 500, 300, 0, 0]
    parts = [Partition(topic="t", topic_id="a" * 32, partition=i, partitions=8, size=n) for i, n in enumerate(sizes)]
    shares = partitioned(parts, 2)
    assert sorted(sum(p.size for p in share) for share in shares) == [1_000, 1_000]
    assert sorted(p.partition for share in shares for p in share) == list(range(8))
    assert [len(share) for share in partitioned(parts[:2], 5)] == [1, 1]


def events_of_one_shard() -> tuple[int, list[FeedbackEvent]]:
    """Events of many users who live in one shard."""
    events = [event for history in histories(5, 3_000, longest=8) for event in history.events]
    shard = shard_of(events[0].user_id)
    return shard, [event for event in events if shard_of(event.user_id) == shard]


def stored_of(events: list[FeedbackEvent]) -> dict[str, Stored]:
    return {user_id: stored_fields(folded) for user_id, folded in fold(events).items()}


def test_a_flush_is_short_calls_and_only_the_last_of_a_shard_moves_its_mark():
    shard, events = events_of_one_shard()
    writes = ShardWrites(stored=stored_of(events))
    calls = list(calls_of(NAME, 10, 99, [shard, (shard + 1) % 64], {shard: writes}))
    mine = [call for call in calls if call.shard == shard]
    assert len(mine) > 1
    assert [call.upto for call in mine] == [MOVES_NO_MARK] * (len(mine) - 1) + [99]
    assert {call.after for call in calls} == {10}
    joined: dict[str, dict[bytes, bytes]] = {}
    for call in mine:
        fields = call.writes.fields()
        assert not joined.keys() & fields.keys()
        assert sum(map(len, fields.values())) < FIELDS_A_CALL + max(map(len, fields.values()), default=0)
        joined |= fields
    assert joined == writes.fields()
    other = next(call for call in calls if call.shard != shard)
    assert (other.upto, other.writes) == (99, ShardWrites())


def test_who_is_forgotten_is_in_no_call():
    shard, events = events_of_one_shard()
    gone = events[0].user_id
    writes = ShardWrites(stored=stored_of(events), forgotten={gone})
    calls = list(calls_of(NAME, 0, 5, [shard], {shard: writes}))
    assert all(gone not in call.writes.stored for call in calls)
    assert [call.writes.forgotten for call in calls if call.writes.forgotten] == [{gone}]


def test_a_shard_that_comes_to_a_partition_late_has_it_read_again():
    shards = PartitionShards()
    assignment = Partition(topic="t", topic_id="a" * 32, partition=3, partitions=32).assignment
    stored: list[dict[str, int]] = [{} for _ in range(64)]
    assert shards.lowest([assignment], stored) == {NAME: None}
    stored[3] = stored[35] = {NAME.field(): 7}
    assert shards.lowest([assignment], stored) == {NAME: 7}
    assert shards.take_in(NAME, [5])
    assert not shards.take_in(NAME, [5, 3])
    assert shards.lowest([assignment], stored) == {NAME: None}
    stored[5] = {NAME.field(): 2}
    assert shards.lowest([assignment], stored) == {NAME: 2}
    assert shards.of(NAME) == [3, 5, 35]


def test_a_holder_of_another_life_or_gone_is_dead_and_one_elsewhere_is_not():
    me = psutil.Process()
    holder = Holder(
        what="replay", generation="g2", host=socket.gethostname(), pid=me.pid, process_began=me.create_time(), since=0
    )
    assert not holder.is_dead()
    assert holder.model_copy(update={"process_began": 1.0}).is_dead()
    assert holder.model_copy(update={"pid": 2**22 + 1}).is_dead()
    assert not holder.model_copy(update={"pid": 2**22 + 1, "host": "elsewhere"}).is_dead()
    assert "g2" in str(holder)


def test_what_the_lease_says_is_what_a_rebuild_tells():
    told: list[Progress] = []
    rebuild = Rebuild(Settings(), Redis(), RebuildOptions(), told.append)
    rebuild._progress(Progress("reading", 60, 200, 0.0, 140))
    assert rebuild._lease.doing == "reading: 140 records behind, 0 records/s"
    rebuild._progress(Progress("comparing", 3, 64))
    assert rebuild._lease.doing == "comparing: 3 of 64"
    assert len(told) == 2
    rebuild._lease.lost = True
    with pytest.raises(RuntimeError, match="took the lease"):
        rebuild._progress(Progress("comparing", 4, 64))


def test_a_view_has_reached_another_where_every_part_has_its_marks():
    live = [{"x": 5, "y": 1}, {}]
    assert reached([{"x": 5, "y": 2}, {}], live, ["x", "y"])
    assert not reached([{"x": 4, "y": 2}, {"x": 9}], live, ["x", "y"])
    assert not reached([{"x": 5}, {}], live, ["x", "y"])
    # Of topics that are not rebuilt nothing is asked.
    assert reached([{"x": 5}, {}], live, ["x"])


def test_a_rate_is_nothing_before_it_is_known():
    rate = Rate()
    assert rate.of(10) == 0.0
    assert rate.of(10) == 0.0
    assert rate.of(1_000_000) > 0


# ---- reading into a sink --------------------------------------------------------------------------------------------


class Keeping:
    """A sink in memory: the values that it took, and the marks of its flushes. It never takes `no`."""

    step = "keeping"
    outages: tuple[type[Exception], ...] = ()

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.marks_written: list[tuple[int, int]] = []

    def decode(self, record: Record) -> bytes | Poison:
        return Poison("bad") if record.value == b"bad" else record.value

    async def marks(self, assignments: Sequence[Assignment]) -> dict[MarkName, int | None]:
        return dict.fromkeys(assignment.name for assignment in assignments)

    async def flush(self, slices: Sequence[Slice[bytes]]) -> FlushResult:
        values = [item.value for part in slices for item in part.items]
        if b"no" in values:
            raise Unflushable("no")
        self.values += values
        self.marks_written += [(part.after, part.upto) for part in slices]
        return FlushResult()


def keeping(options: object, hand_over: object) -> Keeping:
    return Keeping()


class Log:
    """Where the reader asks to go on, in a log of which nothing has expired."""

    def __init__(self) -> None:
        self.sought: list[int] = []

    def seek(self, _tp: TopicPartition, offset: int) -> None:
        self.sought.append(offset)

    def highwater(self, _tp: TopicPartition) -> int:
        return 100

    async def beginning_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)


def reader_of(sink: Keeping, limit: int | None = None) -> Reader[bytes]:
    """A reader that stands at offset 10 of one partition, without a log."""
    job = Job(kafka=KafkaSettings(), sink="", options={}, partitions=(PART,), hold_records=100,
              limits={} if limit is None else {PART.field: limit})  # fmt: skip
    reader = Reader(job, sink)
    reader._consumer = Log()
    reader._positions[TP] = Position(PART.assignment, 10, 10)
    return reader


TP = TopicPartition(PART.topic, PART.partition)


def records(first: int, *values: bytes) -> list[Record]:
    return [SimpleNamespace(topic="t", partition=3, offset=first + i, value=value) for i, value in enumerate(values)]


async def test_records_are_taken_once_and_what_was_read_twice_is_not_taken_again():
    sink = Keeping()
    reader = reader_of(sink)
    assert await reader._take(TP, records(10, b"a", b"bad", b"b")) == 3
    assert await reader._take(TP, records(11, b"bad", b"b", b"c")) == 1
    assert reader.report().positions == {PART.field: 10}
    await reader._flush()
    assert sink.values == [b"a", b"b", b"c"]
    assert sink.marks_written == [(10, 14)]
    report = reader.report()
    assert (report.positions, report.records, report.poison) == ({PART.field: 14}, 4, 1)


async def test_nothing_is_taken_from_a_limit_on():
    sink = Keeping()
    reader = reader_of(sink, limit=12)
    assert await reader._take(TP, records(10, b"a", b"b", b"c")) == 2
    assert reader._consumer.sought == [12]
    assert reader._at_limits()
    reader.limit({PART.field: 13})
    assert not reader._at_limits()
    assert await reader._take(TP, records(12, b"c", b"d")) == 1
    await reader._flush()
    assert sink.values == [b"a", b"b", b"c"]


async def test_a_hole_is_believed_when_it_is_seen_again():
    reader = reader_of(Keeping())

    assert await reader._take(TP, records(15, b"a")) == 0
    assert reader._consumer.sought == [10]
    assert await reader._take(TP, records(15, b"a")) == 1
    assert reader.report().gaps == ()


async def test_what_the_store_never_takes_is_left_out_and_the_rest_is_stored():
    sink = Keeping()
    reader = reader_of(sink)
    await reader._take(TP, records(10, b"a", b"b", b"no", b"c", b"d"))
    await reader._flush()
    assert sorted(sink.values) == [b"a", b"b", b"c", b"d"]
    assert reader.report().poison == 1
    assert max(upto for _, upto in sink.marks_written) == 15
    assert reader.report().positions == {PART.field: 15}


# ---- folding --------------------------------------------------------------------------------------------------------


def test_folding_a_slice_is_the_fold_of_its_events_whatever_the_order():
    events = [event for history in histories(5, 50) for event in history.events]
    folded = {shard: writes.fields() for shard, writes in by_shard(map(feedback_of, events)).items()}
    again = {shard: writes.fields() for shard, writes in by_shard(map(feedback_of, reversed(events * 2))).items()}
    assert folded == again
    users = {user_id: fields for fields_of in folded.values() for user_id, fields in fields_of.items()}
    assert users == {user_id: fields for user_id, fields in stored_of(events).items() if fields}
    assert all(shard_of(user_id) == shard for shard, fields_of in folded.items() for user_id in fields_of)


def test_of_a_listeners_playlists_the_newest_are_kept():
    served = [Served("u", f"p{n}", b"value", n.to_bytes(8, "big")) for n in range(HISTORY_LISTS + 25)]
    (writes,) = by_shard([*served, Served("u", "old", b"value", bytes(8)), Feedback("u", {})]).values()
    assert writes.served.keys() == {one.playlist_id for one in served[25:]}


def test_calls_are_sent_some_at_a_time_in_their_order():
    shard, events = events_of_one_shard()
    calls = 5 * list(calls_of(NAME, 0, 9, [shard], {shard: ShardWrites(stored=stored_of(events))}))
    sent = list(pipelines(calls))
    assert [call for some in sent for call in some] == calls
    assert len(sent) > 1
    assert all(sum(call.writes.size for call in some) <= FIELDS_A_PIPELINE or len(some) == 1 for some in sent)
    assert list(pipelines([])) == []
