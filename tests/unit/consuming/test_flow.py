"""From fetched records to a store, without either: what is decoded, flushed, rewound and sent to the dead letters."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from contracts.evolution.versions import NewerSchema
from contracts.marks import MarkName
from services.common.kafka import Leader
from services.common.kafka.consuming.dead_letters import TooManyDeadLetters
from services.common.kafka.consuming.flow import Flow
from services.common.kafka.consuming.metrics import ConsumerMetrics
from services.common.kafka.consuming.model import Assignment, FlushResult, Gap, Poison, Record, Slice, Unflushable
from services.common.kafka.consuming.retry import RetryPolicy
from services.common.settings import KafkaSettings

TP = TopicPartition("topic", 0)
NAME = MarkName("a" * 32, 0)
TENTH_IS_ENOUGH = KafkaSettings(dead_letter_least=2, dead_letter_share=0.1)


class Store:
    """A sink into a list. Values steer it: `poison` and `newer` cannot be read, `heavy` is never stored."""

    step = "test"
    outages: tuple[type[Exception], ...] = (ConnectionError,)

    def __init__(self) -> None:
        self.mark: int | None = None
        self.values: list[str] = []
        self.gaps: list[Gap] = []
        self.away = 0

    def decode(self, record: Record) -> str | Poison:
        if record.value == "newer":
            raise NewerSchema(2, 1)
        return Poison("it says so") if record.value == "poison" else record.value

    async def marks(self, assignments: Sequence[Assignment]) -> dict[MarkName, int | None]:
        return {one.name: self.mark for one in assignments}

    async def flush(self, slices: Sequence[Slice[str]]) -> FlushResult:
        if self.away:
            self.away -= 1
            raise ConnectionError("away")
        (part,) = slices
        if (self.mark or 0) < part.after:
            return FlushResult({part.assignment.name: self.mark})
        values = [item.value for item in part.items]
        if "heavy" in values:
            raise Unflushable("heavy")
        self.values += values
        self.gaps += part.gaps
        self.mark = part.upto
        return FlushResult()


class Log:
    """aiokafka's consumer of one partition, as far as a flow asks it."""

    def __init__(self) -> None:
        self.start, self.end = 0, 1_000
        self.sought: list[int] = []
        self.committed: dict[TopicPartition, tuple[int, str]] = {}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        assert tp == TP
        self.sought.append(offset)

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self.start)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self.end)

    def assignment(self) -> set[TopicPartition]:
        return {TP}

    def highwater(self, _: TopicPartition) -> int:
        return self.end

    async def commit(self, offsets: dict[TopicPartition, tuple[int, str]]) -> None:
        self.committed |= offsets


class DeadLetters:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, str]] = []

    async def send(self, record: Record, reason: str, topic_id: str) -> None:
        assert topic_id == NAME.topic_id
        self.sent.append((record.offset, reason))


class Scene:
    """A flow of one partition, between a log and a store of lists."""

    def __init__(self, settings: KafkaSettings, hold_records: int = 1) -> None:
        self.log, self.store, self.dead_letters = Log(), Store(), DeadLetters()
        self.metrics = ConsumerMetrics(CollectorRegistry(), "test")
        self.flow: Flow[str] = Flow(
            settings, "group", self.store, lambda: self.log, dead_letters=self.dead_letters,  # type: ignore[arg-type]
            retry_policy=RetryPolicy("test", 10, asyncio.Event(), self.metrics), metrics=self.metrics,
            hold_records=hold_records, hold_seconds=60,
        )  # fmt: skip

    async def follow(self, monkeypatch: pytest.MonkeyPatch, epoch: int = 1, committed: str = "") -> "Scene":
        """Assign the partition. `committed`: the metadata of its committed offset."""

        async def restore(tps: list[TopicPartition]) -> None:
            for tp in tps:
                self.flow.epochs.restore(tp, committed)

        monkeypatch.setattr(self.flow._committed, "restore_epochs", restore)
        await self.flow.follow(lambda: {TP: Assignment(NAME, "topic", 1)}, {TP: Leader(1, epoch)}, self.epoch_ends)
        return self

    async def epoch_ends(self, epochs: Any) -> dict[TopicPartition, int]:
        assert set(epochs) == {TP}
        return {TP: self.log.end}

    async def take(self, *values: str, at: int = 0) -> None:
        """Fetch these values, which begin at an offset."""
        await self.flow.take(
            [
                SimpleNamespace(topic="topic", partition=0, offset=at + n, timestamp=7, key=None, value=v, headers=())
                for n, v in enumerate(values)
            ]
        )


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A followed partition of 1,000 records, and a store that has none of them."""
    return await Scene(KafkaSettings()).follow(monkeypatch)


async def test_what_was_read_is_flushed_with_its_mark(scene: Scene):
    await scene.take("a", "b")
    await scene.take("c", at=2)
    assert (scene.store.values, scene.store.mark) == (["a", "b", "c"], 3)


async def test_records_are_held_until_there_are_enough(monkeypatch: pytest.MonkeyPatch):
    scene = await Scene(KafkaSettings(), hold_records=3).follow(monkeypatch)
    await scene.take("a", "b")
    assert scene.store.values == []
    await scene.take("c", at=2)
    assert scene.store.values == ["a", "b", "c"]
    await scene.take("d", at=3)
    await scene.flow.drain()
    assert (scene.store.values[3:], scene.log.committed) == (["d"], {TP: (4, "read to 0 under epoch 1")})


async def test_poison_goes_to_the_dead_letters_and_the_mark_moves_on(scene: Scene):
    await scene.take("poison")
    await scene.take("a", "poison", "b", at=1)
    assert scene.dead_letters.sent == [(0, "it says so"), (2, "it says so")]
    assert (scene.store.values, scene.store.mark) == (["a", "b"], 4)


async def test_what_the_store_never_takes_is_found_by_bisecting(scene: Scene):
    await scene.take("a", "b", "heavy", "c", "d", "heavy", "e")
    assert (scene.store.values, scene.store.mark) == (["a", "b", "c", "d", "e"], 7)
    assert scene.dead_letters.sent == [(2, "heavy"), (5, "heavy")]


async def test_an_outage_is_retried_with_the_same_records(scene: Scene):
    scene.store.away = 2
    await scene.take("a")
    assert (scene.store.values, scene.metrics.value("animusic_consumer_outage_retries")) == (["a"], 2)


async def test_a_record_of_a_newer_schema_raises_and_what_came_before_has_its_effect(scene: Scene):
    with pytest.raises(NewerSchema, match="upgrade consumers first"):
        await scene.take("a", "poison", "newer", "b")
    assert scene.dead_letters.sent == [(1, "it says so")]
    await scene.flow.drain()
    assert (scene.store.values, scene.store.mark) == (["a"], 2), "it goes on at the newer record after the upgrade"


async def test_a_record_of_a_newer_schema_that_is_the_first_moves_nothing(scene: Scene):
    with pytest.raises(NewerSchema):
        await scene.take("newer", "a")
    await scene.flow.drain()
    assert (scene.store.values, scene.store.mark, scene.dead_letters.sent) == ([], None, [])


async def test_too_many_dead_letters_raise_before_any_more_is_sent(monkeypatch: pytest.MonkeyPatch):
    scene = await Scene(TENTH_IS_ENOUGH).follow(monkeypatch)
    await scene.take("poison", *"abcdefgh")
    with pytest.raises(TooManyDeadLetters, match="2 of the last 11 records"):
        await scene.take("i", "poison", at=9)
    assert (scene.dead_letters.sent, scene.store.mark) == ([(0, "it says so")], 9)


async def test_what_the_store_never_takes_counts_as_well(monkeypatch: pytest.MonkeyPatch):
    scene = await Scene(TENTH_IS_ENOUGH).follow(monkeypatch)
    with pytest.raises(TooManyDeadLetters, match="the last reason: heavy"):
        await scene.take("heavy", "a", "heavy")
    assert scene.dead_letters.sent == [(0, "heavy")]


async def test_a_store_that_is_behind_is_read_for_again(scene: Scene):
    await scene.take("a", "b")
    scene.store.mark = 1
    await scene.take("c", at=2)
    assert (scene.store.values, scene.log.sought[-1]) == (["a", "b"], 1)
    scene.store.mark = None
    await scene.flow.check_store_marks()
    assert scene.log.sought[-1] == 0


async def test_a_hole_is_asked_for_again_and_then_believed(scene: Scene):
    await scene.take("a")
    await scene.take("x", at=5)
    assert (scene.store.values, scene.log.sought[-1]) == (["a"], 1)
    scene.log.start = 5
    await scene.take("x", at=5)
    assert (scene.store.values, scene.store.gaps) == (["a", "x"], [Gap(1, 5)])


async def test_a_log_that_became_shorter_is_read_from_its_start(scene: Scene):
    await scene.take("a", "b", "c")
    scene.log.end = 1
    await scene.take("z", at=0)
    assert scene.log.sought[-1] == 0
    await scene.take("z", at=0)
    assert (scene.store.values, scene.store.gaps) == (["a", "b", "c", "z"], [Gap(1, 3)])


async def test_a_log_that_was_cut_behind_us_is_read_again_from_the_cut(scene: Scene):
    await scene.take("a", "b", "c")
    await scene.flow.on_leader_change({TP: Leader(1, 1)}, scene.epoch_ends)
    scene.log.end = 1
    await scene.flow.on_leader_change({TP: Leader(2, 2)}, scene.epoch_ends)
    assert scene.log.sought[-1] == 1
    scene.log.end = 2
    scene.store.mark = 1
    await scene.take("x", at=1)
    assert (scene.store.values[3:], scene.store.gaps) == (["x"], [Gap(1, 3)])


async def test_a_log_that_was_cut_while_it_was_away_is_read_again_from_the_cut(monkeypatch: pytest.MonkeyPatch):
    scene = Scene(KafkaSettings())
    scene.store.mark, scene.log.end = 9, 9
    monkeypatch.setattr(scene, "epoch_ends", _ends_at_six)
    await scene.follow(monkeypatch, epoch=4, committed="read to 8 under epoch 3")
    assert scene.log.sought == [9, 6]
    assert scene.flow.positions[TP].gaps == (Gap(6, 8),)


async def _ends_at_six(_: Any) -> dict[TopicPartition, int]:
    return {TP: 6}


async def test_a_revoked_partition_is_not_flushed(monkeypatch: pytest.MonkeyPatch):
    scene = await Scene(KafkaSettings(), hold_records=9).follow(monkeypatch)
    await scene.take("a")
    await scene.flow.forget([TP])
    await scene.flow.drain()
    assert (scene.store.values, scene.flow.positions) == ([], {})
    await scene.take("b", at=1)
    assert scene.store.values == []
