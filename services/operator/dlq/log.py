"""The dead-letter topic: reading it, and purging, which notes dead letters as purged and deletes what the log allows.

Kafka deletes only from a topic's start. So bytes go up to the first dead letter that is not purged; the rest go when
that one does, or after the topic's retention.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from contracts.dead_letters import note_headers, text
from contracts.topics import DEAD_LETTERS
from services.common.kafka import producer, read_to_end
from services.common.settings import KafkaSettings
from services.operator.dlq.model import OPEN, DeadLetter, DeadLetters


async def read_dead_letters(settings: KafkaSettings) -> DeadLetters:
    """Every dead letter with what became of it. Raises LookupError when the log has no topic for them."""
    found = DeadLetters()
    async for records in read_to_end(settings, DEAD_LETTERS.name):
        found.add(records)
    return found


async def read_bytes(
    settings: KafkaSettings, dead_letters: Iterable[DeadLetter]
) -> AsyncIterator[tuple[DeadLetter, bytes | None, bytes | None]]:
    """(dead letter, key, value): the untouched bytes of the last failure of each, in the order of the topic.

    Expired ones are left out.
    """
    wanted = {dead_letter.last.at: dead_letter for dead_letter in dead_letters}
    if not wanted:
        return
    async for records in read_to_end(settings, DEAD_LETTERS.name):
        for record in records:
            dead_letter = wanted.get(record.offset)
            if dead_letter is not None:
                yield dead_letter, record.key, record.value


async def last_of_keys(settings: KafkaSettings, topic: str, keys: Collection[str]) -> dict[str, int]:
    """Key -> time (ms) of its last record in a topic, of those keys that have one."""
    found: dict[str, int] = {}
    async for records in read_to_end(settings, topic):
        for record in records:
            key = text(record.key)
            if key in keys:
                found[key] = max(record.timestamp, found.get(key, -1))
    return found


@dataclass(frozen=True)
class Purged:
    """The result of a purge. `kept`: open dead letters, which only --unredriven purges.

    `begins_at`: the topic's first offset now. `still_there`: purged ones whose bytes remain behind an older one.
    """

    purged: tuple[DeadLetter, ...]
    kept: tuple[DeadLetter, ...]
    begins_at: int
    still_there: int


async def purge(
    settings: KafkaSettings, dead_letters: Sequence[DeadLetter], *, unredriven: bool = False, dry_run: bool = False
) -> Purged:
    """Note dead letters as purged, and delete what lies before the first that is not.

    `unredriven`: also open ones, whose records never had their effect; without it they are kept and named.
    """
    going = tuple(
        dead_letter
        for dead_letter in dead_letters
        if dead_letter.state != "purged" and (unredriven or dead_letter.state != OPEN)
    )
    kept = tuple(dead_letter for dead_letter in dead_letters if dead_letter.state == OPEN and not unredriven)
    if dry_run:
        return Purged(going, kept, 0, 0)
    await _note_purged(settings, going)
    found = await read_dead_letters(settings)
    begins_at = deletable(found)
    if begins_at:
        await _delete(settings, begins_at)
    still_there = sum(
        dead_letter.state == "purged" and dead_letter.last.at >= begins_at for dead_letter in found.by_id.values()
    )
    return Purged(going, kept, begins_at, still_there)


def deletable(found: DeadLetters) -> int:
    """The offset up to which the topic can be deleted: the first record of an unpurged dead letter, or the end."""
    kept = [dead_letter.failures[0].at for dead_letter in found.by_id.values() if dead_letter.state != "purged"]
    return min(kept, default=found.end)


async def _note_purged(settings: KafkaSettings, dead_letters: Sequence[DeadLetter]) -> None:
    if not dead_letters:
        return
    async with producer(settings) as writing:
        for dead_letter in dead_letters:
            headers = note_headers("purged", dead_letter.id, dead_letter.attempts, "")
            await writing.send(DEAD_LETTERS.name, None, key=dead_letter.id.encode(), partition=0, headers=headers)
        await writing.flush()


async def _delete(settings: KafkaSettings, before: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(DEAD_LETTERS.name, 0): RecordsToDelete(before_offset=before)})
    finally:
        await admin.close()
