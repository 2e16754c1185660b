"""Offsets that are committed to Kafka: with the leader's epoch, again only when they changed, never in the way."""

import asyncio
import logging
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from contracts.marks import MarkName
from services.common.kafka import Leader
from services.common.kafka.consuming import committed
from services.common.kafka.consuming.committed import CommittedOffsets
from services.common.kafka.consuming.model import Assignment
from services.common.kafka.consuming.positions import LeaderEpochs, Position
from services.common.settings import KafkaSettings

TP, NEW = TopicPartition("t", 0), TopicPartition("t", 1)


def at(offset: int) -> Position[Any]:
    """A partition whose store is at this offset."""
    return Position(Assignment(MarkName("a" * 32, 0), "t", 2), offset, offset)


class Client:
    """aiokafka's consumer, as far as it commits."""

    def __init__(self, *answers: Exception | None) -> None:
        self.commits: list[dict[TopicPartition, tuple[int, str]]] = []
        self._answers = list(answers)

    async def commit(self, offsets: dict[TopicPartition, tuple[int, str]]) -> None:
        self.commits.append(offsets)
        answer = self._answers.pop(0) if self._answers else None
        if answer is not None:
            raise answer


class Unanswered(Client):
    """A client whose group has no coordinator."""

    async def commit(self, offsets: dict[TopicPartition, tuple[int, str]]) -> None:
        await asyncio.Event().wait()


def of(client: Client) -> CommittedOffsets:
    """What commits through this client, with partition 0 read to 7 under epoch 3."""
    epochs = LeaderEpochs()
    epochs.keep(TP, Leader(1, 3), 7)
    return CommittedOffsets(KafkaSettings(), "g", lambda: client, epochs, logging.getLogger("test"))


async def test_what_the_store_has_is_committed_once_with_its_epoch():
    client = Client()
    offsets = of(client)
    for _ in range(2):
        await offsets.commit({TP: at(9), NEW: at(0)})
    assert client.commits == [{TP: (9, "read to 7 under epoch 3")}]
    await offsets.commit({TP: at(12), NEW: at(1)})
    assert client.commits[1:] == [{TP: (12, "read to 7 under epoch 3"), NEW: (1, "")}]


async def test_a_commit_that_failed_is_tried_with_the_next():
    client = Client(CommitFailedError())
    offsets = of(client)
    for _ in range(3):
        await offsets.commit({TP: at(9)})
    assert len(client.commits) == 2


async def test_a_group_that_never_answers_ends_the_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(committed, "_COMMIT_SECONDS", 0.001)
    monkeypatch.setattr(committed, "_MOST_LATE", 3)
    offsets = of(Unanswered())
    for _ in range(3):
        await offsets.commit({TP: at(9)})
    with pytest.raises(RuntimeError, match="finds no coordinator of its group, though it reads the log"):
        await offsets.commit({TP: at(9)})
