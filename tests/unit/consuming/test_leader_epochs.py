"""Epochs of leaders: which of those that are kept have ended."""

from aiokafka import TopicPartition

from services.common.kafka import Leader
from services.common.kafka.consuming.positions import LeaderEpochs

ONE, OTHER = TopicPartition("topic", 0), TopicPartition("topic", 1)


def test_an_epoch_has_ended_when_the_log_names_a_later_one():
    epochs = LeaderEpochs()
    epochs.keep(ONE, Leader(1, 4), 100)
    epochs.keep(OTHER, None, 7)
    assert epochs.ended({ONE: Leader(2, 5), OTHER: Leader(2, 9)}) == {ONE: Leader(2, 4)}, "asked of who leads now"
    assert (epochs.read(ONE), epochs.read(OTHER)) == (100, 0)
    # A broker that has not heard of the last election names an earlier one.
    assert epochs.ended({ONE: Leader(1, 3)}) == epochs.ended({ONE: Leader(1, 4)}) == {}
    epochs.keep(ONE, None, 120)
    assert epochs.read(ONE) == 100, "without a leader nothing is known"
    epochs.clear()
    assert epochs.ended({ONE: Leader(2, 5)}) == {}


def test_what_is_committed_is_kept_again():
    before, after = LeaderEpochs(), LeaderEpochs()
    before.keep(ONE, Leader(1, 4), 100)
    assert before.to_commit(OTHER) == ""
    for tp, metadata in ((ONE, before.to_commit(ONE)), (OTHER, "what another tool committed")):
        after.restore(tp, metadata)
    assert (after.read(ONE), after.read(OTHER)) == (100, 0)
    assert after.ended({ONE: Leader(3, 9), OTHER: Leader(3, 9)}) == {ONE: Leader(3, 4)}
