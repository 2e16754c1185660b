"""Epochs of leaders: which of those that were noted are over."""

from aiokafka import TopicPartition

from services.common.consuming.epochs import Epochs
from services.common.kafka_topic_id import Leader

ONE, OTHER = TopicPartition("topic", 0), TopicPartition("topic", 1)


def test_an_epoch_is_over_when_the_log_names_a_later_one():
    epochs = Epochs()
    epochs.note(ONE, Leader(1, 4), 100)
    epochs.note(OTHER, None, 7)
    assert epochs.over({ONE: Leader(2, 5), OTHER: Leader(2, 9)}) == {ONE: Leader(2, 4)}, "asked of who leads now"
    assert (epochs.read(ONE), epochs.read(OTHER)) == (100, 0)
    # A broker that has not heard of the last election names an earlier one.
    assert epochs.over({ONE: Leader(1, 3)}) == epochs.over({ONE: Leader(1, 4)}) == {}
    epochs.note(ONE, None, 120)
    assert epochs.read(ONE) == 100, "without a leader nothing is known"
    epochs.forget()
    assert epochs.over({ONE: Leader(2, 5)}) == {}


def test_what_is_committed_is_noted_again():
    before, after = Epochs(), Epochs()
    before.note(ONE, Leader(1, 4), 100)
    assert before.words(OTHER) == ""
    for tp, words in ((ONE, before.words(ONE)), (OTHER, "what another tool committed")):
        after.recall(tp, words)
    assert (after.read(ONE), after.read(OTHER)) == (100, 0)
    assert after.over({ONE: Leader(3, 9), OTHER: Leader(3, 9)}) == {ONE: Leader(3, 4)}
