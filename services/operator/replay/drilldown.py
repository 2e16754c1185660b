"""From a difference to the events that made it: the log is read once more for the users concerned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contracts.events import FeedbackEvent, read_event
from contracts.fold import SONG_FIELD, VETO_FIELD, Folded, Write, served_writes, stored_fields
from contracts.placement import partition_of
from contracts.registers import SERVED, SERVED_SLICES, VETO
from contracts.topics import FEEDBACK
from services.common.kafka.consuming.model import Poison
from services.common.settings import KafkaSettings
from services.operator.parity import Difference
from services.operator.replay.records import records_of
from services.profiles.writes import ShardWrites, effect_of
from services.rebuild.job import Partition

_MOST_USERS = 50


@dataclass(frozen=True)
class Cause:
    """A record of the log that wrote a value which one side holds; `sides`: `left`, `right` or both."""

    partition: int
    offset: int
    event_id: str
    kind: str
    register: str
    sides: str


@dataclass(frozen=True)
class Explained:
    """A difference with what the log says. `agrees`: the side that holds what folding the log gives, or `neither`."""

    difference: Difference
    agrees: str
    registers: tuple[str, ...]
    causes: tuple[Cause, ...]


async def explain(settings: KafkaSettings, differences: Sequence[Difference]) -> list[Explained]:
    """The differences of at most 50 users in songs and vetoes, each with the events that wrote what either side holds.

    Reads the users' feedback partitions from their start. Raises aiokafka's KafkaError, LookupError.
    """
    wanted = [d for d in differences if d.field[:1] in (SONG_FIELD, VETO_FIELD)]
    users = list(dict.fromkeys(d.user_id for d in wanted))[:_MOST_USERS]
    by_field = {(d.user_id, d.field): d for d in wanted if d.user_id in users}
    folded: dict[str, Folded] = {user_id: Folded() for user_id in users}
    causes: dict[tuple[str, bytes], list[Cause]] = {key: [] for key in by_field}
    async for record, event in _events(settings, users):
        for write in served_writes(event):
            folded[event.user_id].apply(write)
            key = (event.user_id, _field(write))
            if key in by_field:
                causes[key] += _cause(record, event, write, by_field[key])
    truth = {user_id: stored_fields(user) for user_id, user in folded.items()}
    return [
        Explained(d, _agrees(d, truth[user_id].get(name)), _registers(d), tuple(causes[user_id, name]))
        for (user_id, name), d in by_field.items()
    ]


async def rebuilt(settings: KafkaSettings, user_id: str, partitions: Sequence[Partition]) -> dict[bytes, bytes]:
    """A user's fields folded from these partitions, in memory; empty for one who is forgotten. Nothing is written."""
    writes = ShardWrites()
    for partition in partitions:
        if partition.partition != partition_of(user_id, partition.partitions):
            continue
        first, last = partition.start or 0, partition.until or partition.end
        async for record in records_of(settings, partition.topic, [user_id]):
            effect = effect_of(record)
            if first <= record.offset < last and not isinstance(effect, Poison) and effect.user_id == user_id:
                writes.add(effect)
    return writes.fields().get(user_id, {})


async def _events(settings: KafkaSettings, users: Sequence[str]) -> Any:
    async for record in records_of(settings, FEEDBACK.name, users):
        try:
            event = read_event(record.value)
        except ValueError:
            # The consumers have sent it to the dead letters.
            continue
        if event.user_id in users:
            yield record, event


def _field(write: Write) -> bytes:
    return (VETO_FIELD if write.register is VETO else SONG_FIELD) + write.key.encode()


def _cause(record: Any, event: FeedbackEvent, write: Write, difference: Difference) -> list[Cause]:
    at = slice(None) if write.register is VETO else SERVED_SLICES[write.register.name]
    sides = [
        side
        for side, value in (("left", difference.left), ("right", difference.right))
        if value is not None and value[at] == write.value
    ]
    if not sides:
        return []
    return [
        Cause(
            record.partition, record.offset, str(event.event_id), event.kind, write.register.name, " and ".join(sides)
        )
    ]


def _agrees(difference: Difference, truth: bytes | None) -> str:
    if truth == difference.left:
        return "left"
    return "right" if truth == difference.right else "neither"


def _registers(difference: Difference) -> tuple[str, ...]:
    """The registers in which the two sides differ."""
    left, right = difference.left, difference.right
    if difference.field[:1] != SONG_FIELD:
        return (VETO.name,)
    if left is None or right is None:
        return tuple(register.name for register in SERVED)
    return tuple(r.name for r in SERVED if left[SERVED_SLICES[r.name]] != right[SERVED_SLICES[r.name]])
