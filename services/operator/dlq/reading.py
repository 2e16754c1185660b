"""The dead letters as the log holds them now."""

from collections.abc import AsyncIterator, Collection, Iterable

from contracts.letters import text
from contracts.topics import DEAD_LETTERS
from services.common.kafka import read_to_end
from services.common.settings import KafkaSettings
from services.operator.dlq.letters import Letter, LetterBook


async def read_letters(settings: KafkaSettings) -> LetterBook:
    """Every letter with what became of it. Raises LookupError when the log has no topic for them."""
    book = LetterBook()
    async for records in read_to_end(settings, DEAD_LETTERS.name):
        book.add(records)
    return book


async def read_bytes(
    settings: KafkaSettings, letters: Iterable[Letter]
) -> AsyncIterator[tuple[Letter, bytes | None, bytes | None]]:
    """(letter, key, value) of each letter: the untouched bytes of its last failure, in the order of the topic.

    A letter that expired meanwhile is left out.
    """
    wanted = {letter.last.at: letter for letter in letters}
    if not wanted:
        return
    async for records in read_to_end(settings, DEAD_LETTERS.name):
        for record in records:
            letter = wanted.get(record.offset)
            if letter is not None:
                yield letter, record.key, record.value


async def last_of_keys(settings: KafkaSettings, topic: str, keys: Collection[str]) -> dict[str, int]:
    """Key -> time (ms) of its last record in a topic, of those keys that have one."""
    found: dict[str, int] = {}
    async for records in read_to_end(settings, topic):
        for record in records:
            key = text(record.key)
            if key in keys:
                found[key] = max(record.timestamp, found.get(key, -1))
    return found
