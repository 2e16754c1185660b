"""Dead letters: the untouched bytes of a record that cannot have an effect, with where it came from and why."""

from contracts.letters import letter_id, redriven_of
from contracts.topics import DEAD_LETTER_HEADERS, DEAD_LETTERS
from services.common.consuming.model import Record

_LONGEST_REASON = 1_000


def headers_of(record: Record, step: str, reason: str, topic_id: str) -> list[tuple[str, bytes]]:
    """The headers of a dead letter, in the order of the contract. `time` is the record's own timestamp, ms.

    A record that had been a letter before and was redriven stays that letter, with one more attempt.
    """
    before = redriven_of(record.headers)
    letter = before.letter if before else letter_id(topic_id, record.topic, record.partition, record.offset)
    where = (record.topic, record.partition, record.offset, record.timestamp, topic_id)
    values = (reason[:_LONGEST_REASON], step, *where, letter, before.attempts + 1 if before else 1)
    return [(name, str(value).encode()) for name, value in zip(DEAD_LETTER_HEADERS, values, strict=True)]


class DeadLetters:
    """Where records go that cannot be read. The caller starts and stops the producer.

    The same record may come several times (a crash between letter and flush, a wiped store, several consumers): the
    header `letter` tells.
    """

    def __init__(self, producer: Record, step: str) -> None:
        self._producer = producer
        self._step = step

    async def send(self, record: Record, reason: str, topic_id: str) -> None:
        """Return once the letter is durable; its key and value are the record's own bytes. Raises KafkaError."""
        await self._producer.send_and_wait(
            DEAD_LETTERS.name,
            value=record.value,
            key=record.key,
            partition=0,
            headers=headers_of(record, self._step, reason, topic_id),
        )
