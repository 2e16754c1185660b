"""Dead letters: the untouched bytes of a record that cannot have an effect, with where it came from and why."""

from contracts.topics import DEAD_LETTER_HEADERS, DEAD_LETTERS
from services.common.consuming.model import Record

_LONGEST_REASON = 1_000


def headers_of(record: Record, step: str, reason: str) -> list[tuple[str, bytes]]:
    """The headers of a dead letter, in the order of the contract. `time` is the record's own timestamp, ms."""
    values = (reason[:_LONGEST_REASON], step, record.topic, record.partition, record.offset, record.timestamp)
    return [(name, str(value).encode()) for name, value in zip(DEAD_LETTER_HEADERS, values, strict=True)]


class DeadLetters:
    """Where records go that cannot be read. The caller starts and stops the producer.

    The same record may come twice (a crash between letter and flush): topic, partition and offset tell.
    """

    def __init__(self, producer: Record, step: str) -> None:
        self._producer = producer
        self._step = step

    async def send(self, record: Record, reason: str) -> None:
        """Return once the letter is durable; its key and value are the record's own bytes. Raises KafkaError."""
        await self._producer.send_and_wait(
            DEAD_LETTERS.name,
            value=record.value,
            key=record.key,
            partition=0,
            headers=headers_of(record, self._step, reason),
        )
