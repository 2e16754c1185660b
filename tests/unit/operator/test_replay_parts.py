"""The pure parts of a rebuild: bounds, shares of work, script calls of a flush."""

import asyncio
import socket

import psutil
import pytest
from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.fold import Stored, fold, stored_fields
from contracts.marks import MarkName
from contracts.placement import shard_of
from services.common.redis import connect
from services.common.settings import KafkaSettings, RedisSettings
from services.local.processes.ports import free_port
from services.operator.replay.folding import FIELDS_A_CALL, calls_of
from services.operator.replay.job import Job, Partition, Report
from services.operator.replay.lease import Holder, Lease
from services.operator.replay.planning import Plan, bound_of
from services.operator.replay.profiles import Rebuild, Wish
from services.operator.replay.watching import Progress, Watch
from services.operator.replay.workers import Workers, shared_out
from services.profiles.shards import PartitionShards
from services.profiles.store import MOVES_NO_MARK
from services.profiles.writes import ShardWrites
from tests.support.histories import histories

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
    rebuild._wish = Wish(since=bound_of("2026-05-01", "earliest"))
    with pytest.raises(ValueError, match="--keep"):
        rebuild._check()
    rebuild._wish = Wish(generation="{x}:")
    with pytest.raises(ValueError, match="no name for a generation"):
        rebuild._check()


async def test_a_share_of_this_process_says_why_it_ended_before_its_time():
    port = free_port()
    nowhere = f"127.0.0.1:{port}"
    redis = RedisSettings(url=f"redis://{nowhere}")
    part = Partition(topic="t", topic_id="a" * 32, partition=0, partitions=1)
    job = Job(kafka=KafkaSettings(bootstrap_servers=nowhere), redis=redis, generation="g2", partitions=(part,))
    workers = Workers(job, connect(redis), 1)
    assert workers.report() == Report(memory=workers.report().memory)
    await workers.start()
    with pytest.raises(RuntimeError, match=rf"bootstrap from \[.*{port}.*the same command goes on"):
        while True:
            workers.report()
            await asyncio.sleep(0.01)
    await workers.stop()


def test_work_is_shared_out_about_equally_and_nobody_goes_without():
    sizes = [900, 100, 100, 100, 500, 300, 0, 0]
    parts = [Partition(topic="t", topic_id="a" * 32, partition=i, partitions=8, size=n) for i, n in enumerate(sizes)]
    shares = shared_out(parts, 2)
    assert sorted(sum(p.size for p in share) for share in shares) == [1_000, 1_000]
    assert sorted(p.partition for share in shares for p in share) == list(range(8))
    assert [len(share) for share in shared_out(parts[:2], 5)] == [1, 1]


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


def test_progress_counts_what_was_read_and_is_what_status_shows():
    one, two = (
        Partition(topic="t", topic_id="i", partition=number, partitions=2, end=100, size=100) for number in (0, 1)
    )
    told: list[Progress] = []
    lease = Lease(Redis(), "profiles")
    watch = Watch(told.append, lease)
    watch.enter("reading", 200)
    report = Report(positions={one.field: 10}, read={one.field: 70}, ends={one.field: 110}, records=70, memory=5)
    watch.look(report, Plan((one, two), ()))
    # Ten came since the job was made; of the other partition nobody has said anything yet.
    assert (told[-1].done, told[-1].behind, told[-1].total, told[-1].memory) == (60, 140, 200, 5)
    assert lease.doing == "reading: 140 records behind, 0 records/s"
