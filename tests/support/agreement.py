"""What the stores of a running system hold, in a shape that can be compared: topic, warehouse, Redis, dead letters."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from pydantic import ValidationError
from redis.asyncio import Redis

from contracts.events import FeedbackEvent, read_event
from contracts.fold import Folded
from contracts.records import read_record
from contracts.registers import SERVED, SERVED_SLICES, Register
from contracts.topics import DEAD_LETTERS, FEEDBACK
from services.common.kafka import read_to_end
from services.common.settings import KafkaSettings, Settings
from services.profiles.generations import Generations
from tests.support.following import at_end, profiles_in

SongRegisters = dict[tuple[str, str], dict[str, str]]


async def feedback_in(log: KafkaSettings) -> tuple[list[FeedbackEvent], int]:
    """Every event of the feedback topic, copies too, and how many records are none."""
    events: list[FeedbackEvent] = []
    unreadable = 0
    async for batch in read_to_end(log, FEEDBACK.name):
        for record in batch:
            try:
                events.append(read_event(record.value or b""))
            except ValidationError:
                unreadable += 1
    return events, unreadable


class Place(NamedTuple):
    """A record of the log."""

    topic: str
    partition: int
    offset: int


async def unreadable_in(log: KafkaSettings, topics: Sequence[str]) -> dict[Place, tuple[bytes | None, bytes | None]]:
    """Key and value of every record of these topics that is no record of theirs."""
    found: dict[Place, tuple[bytes | None, bytes | None]] = {}
    for topic in topics:
        async for batch in read_to_end(log, topic):
            for record in batch:
                try:
                    read_record(topic, record.value or b"")
                except ValidationError:
                    found[Place(topic, record.partition, record.offset)] = (record.key, record.value)
    return found


class Letter(NamedTuple):
    """A dead letter: which record it is, who could not read it, and its bytes."""

    place: Place
    step: str
    key: bytes | None
    value: bytes | None


async def dead_letters_in(log: KafkaSettings) -> Counter[Letter]:
    """Every dead letter, with how often it was written."""
    found: Counter[Letter] = Counter()
    async for batch in read_to_end(log, DEAD_LETTERS.name):
        for record in batch:
            said = {name: value.decode() for name, value in record.headers}
            place = Place(said["topic"], int(said["partition"]), int(said["offset"]))
            found[Letter(place, said["step"], record.key, record.value)] += 1
    return found


async def profiles_at_end(settings: Settings, *, timeout: float = 60.0) -> dict[str, dict[bytes, bytes]]:
    """User id -> fields of the live generation, once its marks are at the end of the log."""
    async with Redis.from_url(settings.redis.url) as redis:
        generation = await Generations(redis).live()
        await at_end(settings.kafka, redis, timeout=timeout, generation=generation)
        return await profiles_in(redis, generation)


def ask(settings: Settings, sql: str) -> list[dict[str, Any]]:
    """Rows of a query to the warehouse. Raises AssertionError with what it said, httpx.TransportError."""
    answer = httpx.post(settings.clickhouse.dsn, content=f"{sql} FORMAT JSONEachRow", timeout=60)
    assert answer.is_success, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def warehouse_registers(settings: Settings) -> SongRegisters:
    """(user, song) -> register -> bytes in hex, as ClickHouse merged them."""
    packed = ", ".join(f"{_hex(register)} AS {register.name}" for register in SERVED)
    merged = ", ".join(f"{register.direction}({register.name}) AS m_{register.name}" for register in SERVED)
    inner = f"SELECT user_id, song_id, {merged} FROM registers GROUP BY user_id, song_id"
    rows = ask(settings, f"SELECT user_id, song_id, {packed} FROM ({inner})")
    found = {(row["user_id"], row["song_id"]): {reg.name: row[reg.name] for reg in SERVED} for row in rows}
    # A song that was only shown has a row for its exposure, and nothing else.
    return {key: value for key, value in found.items() if any(int(one, 16) for one in value.values())}


def folded_registers(users: Mapping[str, Folded]) -> SongRegisters:
    """What `warehouse_registers` must be after this fold."""
    return {
        (user, song): {name: packed[at].hex() for name, at in SERVED_SLICES.items()}
        for user, registers in users.items()
        for song, packed in registers.songs.items()
        if any(packed)
    }


def _hex(register: Register) -> str:
    """SQL that gives a merged register's bytes as contracts.registers packs them, in hex."""
    widths = {"B": 1, "H": 2, "I": 4, "Q": 8}
    fields = []
    for name, code in register.fields:
        value = f"hex(tupleElement(m_{register.name}, '{name}'))"
        fields.append(f"leftPad({value}, {2 * widths[code]}, '0')" if code in widths else value)
    return f"lower(concat({', '.join(fields)}))"


def ids_of(events: Iterable[FeedbackEvent]) -> set[str]:
    """Distinct event ids."""
    return {str(UUID(int=number)) for number in {event.event_id.int for event in events}}
