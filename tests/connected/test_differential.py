"""R3: the fold in Python, in Redis' script and in ClickHouse's tables gives the same bytes for the same set of events.

2,000 histories with equal times, colliding ids and equal ids with different payloads go into each store in other
orders, with duplicates, cut into other batches. Then each law of the fold is broken once, and the comparison must see
it.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from contracts.events import FeedbackEvent
from contracts.fold import Folded, Write, fold, stored_fields, watched_value, writes
from contracts.registers import FIRST_EXPOSURE, PLAYED, SERVED, SERVED_SLICES, VETO, WATCHED, Register
from services.common.clickhouse import ChdbConnection
from services.local.processes.valkey import ValkeyNode
from services.warehouse.rows import Place, feedback
from tests.connected.warehouse import engine as chdb
from tests.support.following import GENERATION, profiles_in
from tests.support.histories import History, batches, histories
from tests.support.merging import merge_events

pytestmark = pytest.mark.connected

HISTORIES = 2_000
ORDERS = 2
# (user, register, song or anime, play) -> encoded value; absent registers are not there.
Registers = dict[tuple[str, str, str, str], bytes]
IN_REDIS = frozenset({register.name for register in SERVED} | {VETO.name})


@dataclass(frozen=True)
class Agreed:
    """The histories, their fold, and what the two stores hold of them after each order of arrival."""

    events: list[FeedbackEvent]
    fold: Registers
    redis: list[dict[str, dict[bytes, bytes]]]
    clickhouse: list[Registers]


@pytest_asyncio.fixture(scope="module")
async def agreed(valkey: ValkeyNode) -> AsyncIterator[Agreed]:
    """Both stores filled with all histories, once for each order."""
    made = list(histories(3, HISTORIES))
    events = [event for history in made for event in history.events]
    found = Agreed(events, _of(fold(events)), [], [])
    connection = chdb.engine().connect()
    client = Redis.from_url(valkey.url)
    for order in range(ORDERS):
        await client.flushall()
        chdb.empty(connection)
        for number, batch in enumerate(_rounds(made, order)):
            await merge_events(client, GENERATION, batch)
            connection.insert("animusic.feedback", feedback([(Place("f" * 32, number, 0, 0), e) for e in batch]))
        found.redis.append(await profiles_in(client))
        found.clickhouse.append(_in_clickhouse(connection))
    yield found
    await client.aclose()
    connection.close()


def _rounds(made: Iterable[History], order: int) -> Iterator[list[FeedbackEvent]]:
    """Each history in another order, with duplicates, cut into one to five batches; the nth batches of all together."""
    cut = [batches(history.events, (order, history.number)) for history in made]
    for batch in zip_longest(*cut, fillvalue=()):
        yield [event for part in batch for event in part]


def _in_clickhouse(connection: ChdbConnection) -> Registers:
    found: Registers = {}
    for table, key, play, registers in (
        ("registers", "song_id", "''", (*SERVED, FIRST_EXPOSURE)),
        ("vetoes", "anime_id", "''", (VETO,)),
        ("played", "song_id", "toString(play_id)", (PLAYED,)),
    ):
        merged = ", ".join(f"{register.direction}({register.name}) AS {register.name}" for register in registers)
        rows = connection.query(
            f"SELECT user_id, {key} AS key, {play} AS play, {merged} FROM animusic.{table} GROUP BY user_id, key, play"
        )
        for row in rows.to_pylist():
            for register in registers:
                value = register.encode(*row[register.name].values())
                if value != register.identity:
                    found[row["user_id"], register.name, row["key"], row["play"]] = value
    return found


def _of(folded: dict[str, Folded]) -> Registers:
    found: Registers = {}
    for user, registers in folded.items():
        for song, packed in registers.songs.items():
            found.update({(user, name, song, ""): packed[at] for name, at in SERVED_SLICES.items()})
        found.update({(user, VETO.name, anime, ""): value for anime, value in registers.vetoes.items()})
        found.update({(user, FIRST_EXPOSURE.name, song, ""): value for song, value in registers.exposures.items()})
        found.update({(user, PLAYED.name, song, play): value for (song, play), value in registers.played.items()})
    return {key: value for key, value in found.items() if value.strip(b"\0")}


def test_redis_holds_the_bytes_of_the_fold(agreed: Agreed) -> None:
    expected = {user: stored_fields(folded) for user, folded in fold(agreed.events).items()}
    expected = {user: fields for user, fields in expected.items() if fields}
    assert len(expected) > HISTORIES
    for found in agreed.redis:
        assert found == expected


def test_clickhouse_holds_the_bytes_of_the_fold(agreed: Agreed) -> None:
    expected = agreed.fold
    assert {name for _, name, _, _ in expected} == {
        register.name for register in (*SERVED, VETO, PLAYED, FIRST_EXPOSURE)
    }
    for found in agreed.clickhouse:
        assert found == expected


def test_python_gives_the_same_in_any_order_and_batching(agreed: Agreed) -> None:
    expected = fold(agreed.events)
    for order in range(ORDERS):
        joined: dict[str, Folded] = defaultdict(Folded)
        for batch in _rounds(histories(3, HISTORIES), order):
            for user, folded in fold(batch).items():
                joined[user].merge(folded)
        assert joined == expected


# ---- mutants: the fold with one law broken ------------------------------------------------------------------------

Choose = Callable[[Register, bytes, bytes], bytes]
Writer = Callable[[FeedbackEvent], Iterable[Write]]


def _join(register: Register, old: bytes, new: bytes) -> bytes:
    return register.merge(old, new)


def _mutant(events: Iterable[FeedbackEvent], write: Writer = writes, choose: Choose = _join) -> Registers:
    """The fold, told how to merge and what an event writes; without mutation it is the fold itself."""
    found: Registers = {}
    for event in events:
        for register, key, play, value in write(event):
            at = (event.user_id, register.name, key, play)
            found[at] = choose(register, found[at], value) if at in found else value
    return {at: value for at, value in found.items() if value.strip(b"\0")}


def _only(name: str, choose: Choose) -> Choose:
    return lambda register, old, new: (choose if register.name == name else _join)(register, old, new)


def _by_time_alone(register: Register, old: bytes, new: bytes) -> bytes:
    first = new[:8] < old[:8] if register.direction == "min" else new[:8] > old[:8]
    return new if first else old


def _fieldwise(_: Register, old: bytes, new: bytes) -> bytes:
    return b"".join(max(old[i : i + 4], new[i : i + 4]) for i in (0, 4, 8))


def _sum(_: Register, old: bytes, new: bytes) -> bytes:
    return PLAYED.encode(int.from_bytes(old, "big") + int.from_bytes(new, "big"))


def _signed(register: Register, old: bytes, new: bytes) -> bytes:
    """Ids compared as signed bytes, as a careless port would."""

    def key(value: bytes) -> tuple[int, list[int]]:
        return int.from_bytes(value[:8], "big"), [byte - 256 if byte > 127 else byte for byte in value[8:]]

    return (max if register.direction == "max" else min)(old, new, key=key)


MERGES: dict[str, Choose] = {
    "the furthest position in ms instead of in ppm": _only("watched", lambda _, o, n: max(o, n, key=lambda v: v[4:8])),
    "the three of watched from different events": _only("watched", _fieldwise),
    "the last to arrive is the last writer": _only("liked", lambda _, _old, new: new),
    "likes of one moment: the first to arrive wins": _only("liked", _by_time_alone),
    "started: the first time": _only("started", lambda _, o, n: min(o, n)),
    "settled: ties by arrival": _only("settled", _by_time_alone),
    "vetoes: ids as signed bytes": _only("veto", _signed),
    "exposure: the last arm": _only("first_exposure", lambda _, o, n: max(o, n)),
    "exposure: ties by arrival": _only("first_exposure", _by_time_alone),
    "exposure: ids as signed bytes": _only("first_exposure", _signed),
    "played: summed, so that a duplicate counts twice": _only("played", _sum),
}


def _without(keep: Callable[[FeedbackEvent, Write], bool]) -> Writer:
    return lambda event: (write for write in writes(event) if keep(event, write))


def _rounded(event: FeedbackEvent) -> Iterator[Write]:
    for write in writes(event):
        if write.register is WATCHED and event.watch_ms is not None and event.duration_ms:
            ppm = min(1_000_000, -(-event.watch_ms * 1_000_000 // event.duration_ms))
            yield write._replace(value=WATCHED.encode(ppm, event.watch_ms, event.duration_ms))
        else:
            yield write


def _unclamped(event: FeedbackEvent) -> Iterator[Write]:
    """What is watched past nothing: a duration of zero stands for one."""
    yield from writes(event)
    if event.duration_ms is None and event.kind == "progress":
        yield Write(WATCHED, event.song_id or "", "", watched_value(event.watch_ms or 1, 1))


def _believing(event: FeedbackEvent) -> Iterable[Write]:
    if event.attribution in ("none", "refused") and event.song_id:
        return writes(event.model_copy(update={"attribution": "claimed", "arm": "random"}))
    return writes(event)


def _settling_by_unlike(event: FeedbackEvent) -> Iterator[Write]:
    for write in writes(event):
        yield write
        if event.kind == "unliked" and write.register.name == "liked":
            settled = next(register for register in SERVED if register.name == "settled")
            yield Write(settled, write.key, "", write.value[:24])


WRITES: dict[str, Writer] = {
    "an un-like is no write": _without(lambda e, w: not (w.register.name == "liked" and e.kind == "unliked")),
    "an un-veto is no write": _without(lambda e, w: e.kind != "unvetoed"),
    "only progress is watching": _without(lambda e, w: w.register is not WATCHED or e.kind == "progress"),
    "skipping settles nothing": _without(lambda e, w: not (w.register.name == "settled" and e.kind == "skipped")),
    "a claimed arm is no exposure": _without(
        lambda e, w: not (w.register is FIRST_EXPOSURE and e.attribution == "claimed")
    ),
    "an un-like settles": _settling_by_unlike,
    "progress rounded up": _rounded,
    "progress without a duration": _unclamped,
    "an event that nobody vouches for is an exposure": _believing,
}


def test_the_mutants_unmutated_are_the_fold(agreed: Agreed) -> None:
    assert _mutant(agreed.events) == agreed.fold


@pytest.mark.parametrize("law", MERGES)
def test_a_broken_merge_is_caught(agreed: Agreed, law: str) -> None:
    _assert_caught(agreed, _mutant(agreed.events, choose=MERGES[law]))


@pytest.mark.parametrize("law", WRITES)
def test_a_broken_write_is_caught(agreed: Agreed, law: str) -> None:
    _assert_caught(agreed, _mutant(agreed.events, WRITES[law]))


def _assert_caught(agreed: Agreed, mutated: Registers) -> None:
    """ClickHouse sees every mutant; Redis those of the registers that it holds."""
    assert all(found != mutated for found in agreed.clickhouse)
    wrong = {name for _, name, _, _ in _different(agreed.fold, mutated)}
    if wrong & IN_REDIS:
        served = {at: value for at, value in mutated.items() if at[1] in IN_REDIS}
        assert all(_of_redis(found) != served for found in agreed.redis)


def _different(one: Registers, other: Registers) -> Iterator[tuple[str, str, str, str]]:
    return (at for at in one.keys() | other.keys() if one.get(at) != other.get(at))


def _of_redis(users: dict[str, dict[bytes, bytes]]) -> Registers:
    found: Registers = {}
    for user, fields in users.items():
        for name, value in fields.items():
            key = name[1:].decode()
            if name[:1] == b"v":
                found[user, VETO.name, key, ""] = value
            else:
                found.update({(user, register, key, ""): value[at] for register, at in SERVED_SLICES.items()})
    return {at: value for at, value in found.items() if value.strip(b"\0")}
