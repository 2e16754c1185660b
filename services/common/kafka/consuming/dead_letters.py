"""Dead letters: the untouched bytes of a record that cannot have an effect, with where it came from and why."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from contracts.dead_letters import dead_letter_id, redriven_of
from contracts.topics import DEAD_LETTER_HEADERS, DEAD_LETTERS
from services.common.kafka.consuming.model import Record
from services.common.settings import KafkaSettings

_LONGEST_REASON: Final = 1_000


class TooManyDeadLetters(Exception):
    """So many of the recent records cannot be read that this is no fault of single records. `str()` says what to do."""


class DeadLetterLimit:
    """Stops a consumer that sends too large a share of its recent records to the dead letters.

    A few poisoned records must not hold up the rest. Where most of them cannot be read, a producer or this consumer is
    broken, and to go on would only move the log into the dead letters.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._share = settings.dead_letter_share
        self._least = settings.dead_letter_least
        # Why each of the recent records cannot be read; None for one that can.
        self._recent: deque[str | None] = deque(maxlen=settings.dead_letter_window)
        self._dead = 0

    def check(self, reasons: Sequence[str | None]) -> None:
        """Count records: why each cannot be read, or None. Raises TooManyDeadLetters."""
        if not self._dead and not any(reasons):
            self._recent.extend(reasons)
            return
        for reason in reasons:
            oldest = self._recent[0] if len(self._recent) == self._recent.maxlen else None
            self._recent.append(reason)
            self._dead += (reason is not None) - (oldest is not None)
            if reason is not None and self._dead >= self._least and self._dead > self._share * len(self._recent):
                raise TooManyDeadLetters(
                    f"{self._dead} of the last {len(self._recent)} records cannot be read, over {self._share:.0%}; "
                    f"the last reason: {reason}. Correct the program that writes them, or upgrade this consumer. "
                    "To send them all to the dead letters, set ANIMUSIC_KAFKA__DEAD_LETTER_SHARE=1"
                )


def headers_of(record: Record, step: str, reason: str, topic_id: str) -> list[tuple[str, bytes]]:
    """The headers of a dead letter, in the order of the contract. `time` is the record's own timestamp, ms.

    A record that had been a dead letter before and was redriven stays that one, with one more attempt.
    """
    before = redriven_of(record.headers)
    letter = before.letter if before else dead_letter_id(topic_id, record.topic, record.partition, record.offset)
    where = (record.topic, record.partition, record.offset, record.timestamp, topic_id)
    values = (reason[:_LONGEST_REASON], step, *where, letter, before.attempts + 1 if before else 1)
    return [(name, str(value).encode()) for name, value in zip(DEAD_LETTER_HEADERS, values, strict=True)]


class DeadLetters:
    """The topic of records that cannot be read. The caller starts and stops the producer.

    The same record may come several times (a crash between its dead letter and the flush, an emptied store, several
    consumers): the header `letter` identifies it.
    """

    def __init__(self, producer: Record, step: str) -> None:
        self._producer = producer
        self._step = step

    async def send(self, record: Record, reason: str, topic_id: str) -> None:
        """Return once the dead letter is durable; its key and value are the record's own. Raises KafkaError."""
        headers = headers_of(record, self._step, reason, topic_id)
        await self._producer.send_and_wait(
            DEAD_LETTERS.name, value=record.value, key=record.key, partition=0, headers=headers
        )
