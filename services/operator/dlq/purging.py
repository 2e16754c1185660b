"""Letters that need no more thought: noted as purged, and their bytes deleted as far as the log allows.

Kafka deletes only from a topic's start. So bytes go up to the first letter that is not purged; the rest go when that
one does, or after the topic's retention.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from contracts.letters import note_headers
from contracts.topics import DEAD_LETTERS
from services.common.kafka import producer
from services.common.settings import KafkaSettings
from services.operator.dlq.letters import OPEN, Letter, LetterBook
from services.operator.dlq.reading import read_letters


@dataclass(frozen=True)
class Purged:
    """What was purged; `kept` are open letters that were asked for and were not to be lost.

    `begins_at`: the topic's first offset now. `still_there`: purged letters whose bytes wait for an older letter.
    """

    purged: tuple[Letter, ...]
    kept: tuple[Letter, ...]
    begins_at: int
    still_there: int


async def purge(
    settings: KafkaSettings, letters: Sequence[Letter], *, unredriven: bool = False, dry_run: bool = False
) -> Purged:
    """Note letters as purged, and delete what lies before the first letter that is not.

    `unredriven`: also letters that are open, whose records never had their effect; without it they are kept and named.
    """
    going = tuple(letter for letter in letters if letter.state != "purged" and (unredriven or letter.state != OPEN))
    kept = tuple(letter for letter in letters if letter.state == OPEN and not unredriven)
    if dry_run:
        return Purged(going, kept, 0, 0)
    await _note(settings, going)
    book = await read_letters(settings)
    begins_at = deletable(book)
    if begins_at:
        await _delete(settings, begins_at)
    still_there = sum(letter.state == "purged" and letter.last.at >= begins_at for letter in book.letters.values())
    return Purged(going, kept, begins_at, still_there)


def deletable(book: LetterBook) -> int:
    """The offset before which nothing is of any use: the first record of a letter that is not purged, or the end."""
    living = [letter.failures[0].at for letter in book.letters.values() if letter.state != "purged"]
    return min(living, default=book.end)


async def _note(settings: KafkaSettings, letters: Sequence[Letter]) -> None:
    if not letters:
        return
    writing = producer(settings)
    await writing.start()
    try:
        for letter in letters:
            headers = note_headers("purged", letter.id, letter.attempts, "")
            await writing.send(DEAD_LETTERS.name, None, key=letter.id.encode(), partition=0, headers=headers)
        await writing.flush()
    finally:
        await writing.stop()


async def _delete(settings: KafkaSettings, before: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(DEAD_LETTERS.name, 0): RecordsToDelete(before_offset=before)})
    finally:
        await admin.close()
