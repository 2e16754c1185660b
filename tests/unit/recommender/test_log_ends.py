"""When a profile is behind the log, by looks at the log and a clock of the test's own."""

from contracts.marks import MarkName
from contracts.placement import SHARDS, partition_of, shard_of
from services.common.settings import KafkaSettings
from services.recommender.freshness import LATE_SECONDS, LogEnds

TOPIC, OTHER = "a" * 32, "b" * 32
PARTITIONS = 4
MINE = partition_of("u", PARTITIONS)


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def looks() -> tuple[LogEnds, Clock]:
    clock = Clock()
    return LogEnds(KafkaSettings(), clock), clock


def ends(of_mine: int, others: int = 0) -> dict[int, int]:
    return {partition: of_mine if partition == MINE else others for partition in range(PARTITIONS)}


def mark(offset: int, topic: str = TOPIC) -> dict[str, int]:
    return {MarkName(topic, MINE).field(): offset}


def test_nothing_is_behind_before_the_first_poll() -> None:
    log, _ = looks()
    assert not log.behind("u", {})


def test_at_the_start_a_store_must_have_what_was_there() -> None:
    log, _ = looks()
    log.note(TOPIC, ends(5))
    assert log.behind("u", {})
    assert log.behind("u", mark(4))
    assert not log.behind("u", mark(5))


def test_only_the_users_partition_counts() -> None:
    log, _ = looks()
    log.note(TOPIC, ends(0, others=9))
    assert not log.behind("u", {})


def test_a_new_record_is_not_late_and_becomes_late() -> None:
    log, clock = looks()
    log.note(TOPIC, ends(5))
    clock.now = 1.0
    log.note(TOPIC, ends(8))
    clock.now = LATE_SECONDS
    assert not log.behind("u", mark(5))
    clock.now = 1.0 + LATE_SECONDS
    assert log.behind("u", mark(5))
    assert not log.behind("u", mark(8))


def test_a_mark_of_a_former_topic_does_not_count() -> None:
    log, _ = looks()
    log.note(OTHER, ends(2))
    assert log.behind("u", mark(5, TOPIC))
    assert not log.behind("u", {**mark(5, TOPIC), **mark(2, OTHER)})


def test_the_lag_counts_a_partition_by_the_slowest_of_its_shards() -> None:
    log, _ = looks()
    assert log.lag([{}] * SHARDS) is None
    log.note(TOPIC, ends(5, others=2))
    assert log.lag([{}] * SHARDS) == 5 + 2 * (PARTITIONS - 1)
    marks = [
        {MarkName(TOPIC, partition).field(): offset for partition, offset in ends(5, others=2).items()}
        for _ in range(SHARDS)
    ]
    assert log.lag(marks) == 0
    marks[shard_of("u")] = {**marks[shard_of("u")], **mark(3)}
    assert log.lag(marks) == 2
